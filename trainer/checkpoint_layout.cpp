#include "trainer/checkpoint_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "launch/error.h"

namespace muster {
namespace {

constexpr std::string_view kPrefix = "step_";
constexpr size_t kDigits = 10;

}  // namespace

std::string checkpoint_name(int64_t step) {
  return fmt::format("{}{:010}", kPrefix, step);
}

std::optional<int64_t> step_of(const std::string& name, const std::string& suffix) {
  if (name.compare(0, kPrefix.size(), kPrefix) != 0) return std::nullopt;
  int64_t step = 0;
  const char* const digits = name.data() + kPrefix.size();
  const auto [end, failure] = std::from_chars(digits, name.data() + name.size(), step);
  const bool is_number = failure == std::errc() && step >= 0 && static_cast<size_t>(end - digits) >= kDigits;
  if (!is_number || name.substr(static_cast<size_t>(end - name.data())) != suffix) return std::nullopt;
  return step;
}

std::vector<CheckpointFolder> list_checkpoints(const std::string& checkpoints, const std::string& suffix) {
  std::vector<CheckpointFolder> folders;
  std::error_code error;
  if (!std::filesystem::exists(checkpoints, error)) return folders;
  std::filesystem::directory_iterator entry(checkpoints, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (const auto step = step_of(name, suffix)) folders.push_back({*step, name});
  }
  if (error) throw DataError(fmt::format("cannot list {}: {}", checkpoints, error.message()));
  std::sort(folders.begin(), folders.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return folders;
}

}  // namespace muster
