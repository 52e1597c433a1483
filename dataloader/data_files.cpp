#include "dataloader/data_files.h"

#include <filesystem>

namespace muster {

std::string default_data_file(const std::string& name) {
  const std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const std::filesystem::path built = folder / "share" / name;
  return std::filesystem::exists(built) ? built : folder.parent_path() / "share/muster" / name;
}

std::string find_data_file(const std::string& path) {
  std::error_code error;
  if (std::filesystem::path(path).is_absolute() || std::filesystem::exists(path, error)) return path;
  const std::string ours = default_data_file(path);
  return std::filesystem::is_regular_file(ours, error) ? ours : path;
}

}  // namespace muster
