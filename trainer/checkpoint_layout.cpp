#include "trainer/checkpoint_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "dataloader/formats/file.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr std::string_view kPrefix = "step_";

}  // namespace

std::string checkpoint_name(int64_t step) {
  return fmt::format("{}{:010}", kPrefix, step);
}

std::optional<int64_t> step_of(const std::string& name, const std::string& suffix) {
  if (name.compare(0, kPrefix.size(), kPrefix) != 0) return std::nullopt;
  int64_t step = 0;
  const char* const digits = name.data() + kPrefix.size();
  const std::errc failure = std::from_chars(digits, name.data() + name.size(), step).ec;
  if (failure != std::errc() || step < 0 || name != checkpoint_name(step) + suffix) return std::nullopt;
  return step;
}

std::vector<CheckpointFolder> list_checkpoints(const std::string& checkpoints, const std::string& suffix) {
  std::vector<CheckpointFolder> folders;
  std::error_code error;
  if (!std::filesystem::exists(checkpoints, error)) return folders;
  std::filesystem::directory_iterator entry(checkpoints, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename();
    const auto step = step_of(name, suffix);
    if (step && is_folder(entry->path())) folders.push_back({*step, name});
  }
  if (error)
    throw DataError(fmt::format("cannot list {}: {}; give another --run, or make it a folder that can be read",
                                checkpoints, error.message()));
  std::sort(folders.begin(), folders.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return folders;
}

}  // namespace muster
