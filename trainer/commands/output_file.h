// Outputs are looked at before the work, not after it.
#pragma once

#include <string>
#include <vector>

namespace muster {

// Refuses an output that could not be written, or that would harm what the command reads. ConfigError, naming `option`
// ("--out"): the path is empty, a folder, a link or a device; its folder is missing or may not be written; it is one of
// the `inputs` by whatever name, or lies in an input that is a store or holds a run's own files.
void check_output_file(const std::string& option, const std::string& path, const std::vector<std::string>& inputs);

}  // namespace muster
