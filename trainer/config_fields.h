// A resolved config's text as a list of fields: to compare runs.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace muster {

using ConfigFields = std::vector<std::pair<std::string, std::string>>;

// Text format with one field a line -> ("train.optimizer.rate", "0.0005") in order; repeated messages are numbered.
ConfigFields list_config_fields(const std::string& text);

// False for fields that decide speed, memory or output only: a later part of a run may change them.
bool decides_results(const std::string& field);

}  // namespace muster
