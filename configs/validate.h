// What is impossible in a resolved config, whatever the data and the world size.
#pragma once

#include <string>
#include <vector>

#include "configs/run.pb.h"

namespace muster {

// One line each: "train.chunk is -1: give 0 (all rows at once) or more". Empty if the config can run. The model is
// resolve_model()'s to check.
std::vector<std::string> find_problems(const RunConfig& config);

}  // namespace muster
