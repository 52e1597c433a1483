// The config of a run that is there.
#pragma once

#include <string>
#include <vector>

#include "configs/run.pb.h"

namespace muster {

// The resolved config of the run in this folder (or of one checkpoint's folder), with overrides: of config.textproto,
// unless that is damaged - it cannot be read or says what the newest checkpoint, whose bytes are under a hash,
// contradicts. Then the checkpoint's is taken, and one log_info() line says so, on rank 0. ConfigError: no run is
// there.
RunConfig load_config_of(const std::string& run_dir, const std::vector<std::string>& overrides = {});

}  // namespace muster
