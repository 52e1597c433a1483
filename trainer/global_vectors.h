// What ranks images and captions by one vector each, of the pair "global", with a model that has another pair too: of
// regions and words (model.regions).
#pragma once

#include <string>

#include "trainer/run_settings.h"

namespace muster {

// Whether some term of the objective with a weight trains these vectors.
bool trains_global(const RunSettings& settings);

// ConfigError if nothing trained them. `does`: "muster search ranks by".
void check_global(const RunSettings& settings, const std::string& run_dir, const std::string& does);

// Which scores these are, where evaluation ranks by others; else empty.
std::string global_note(const RunSettings& settings);

}  // namespace muster
