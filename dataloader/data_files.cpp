#include "dataloader/data_files.h"

#include <filesystem>

namespace muster {

std::string default_data_file(const std::string& name) {
  const std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const std::filesystem::path built = folder / "share" / name;
  return std::filesystem::exists(built) ? built : folder.parent_path() / "share/muster" / name;
}

}  // namespace muster
