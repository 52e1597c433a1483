#include "trainer/commands/output_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "launch/error.h"
#include "trainer/commands/run_setup.h"
#include "trainer/run_folder.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

// What a run writes into its folder itself; reports and embeddings may lie beside it.
constexpr std::array<const char*, 5> kRunsOwn = {"config.textproto", "checkpoints", "metrics.jsonl",
                                                 "evaluations.jsonl", "lock"};

[[noreturn]] void refuse(const std::string& option, const std::string& path, const std::string& why) {
  throw ConfigError(fmt::format("{} {}: {}", option, path.empty() ? "''" : path, why));
}

bool is_same(const fs::path& a, const fs::path& b) {
  std::error_code error;
  return fs::equivalent(a, b, error) && !error;
}

bool is_below(const fs::path& path, const fs::path& folder) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(path, error), top = fs::weakly_canonical(folder, error);
  if (error) return false;
  return std::mismatch(top.begin(), top.end(), whole.begin(), whole.end()).first == top.end();
}

// Is it this file by any name (a link, a hard link), or in this folder, or one of the files in it?
bool would_harm(const fs::path& path, const fs::path& input) {
  std::error_code error;
  if (!fs::is_directory(input, error)) return is_same(path, input);
  if (is_below(path, input)) return true;
  if (!fs::exists(path, error)) return false;
  for (fs::recursive_directory_iterator entry(input, error), end; !error && entry != end; entry.increment(error)) {
    if (is_same(path, entry->path())) return true;
  }
  return false;
}

void check_place(const std::string& option, const std::string& path) {
  if (path.empty()) refuse(option, path, "give the name of a file to write");
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    refuse(option, path, "it is not a plain file; give the path of a new or plain file");
  }
  const fs::path parent = fs::path(path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  if (!fs::is_directory(folder, error)) refuse(option, path, folder + " is no folder; make it first");
  if (access(folder.c_str(), W_OK | X_OK) != 0) {
    refuse(option, path, fmt::format("cannot write in {}: {}", folder, std::strerror(errno)));
  }
}

}  // namespace

void check_output_file(const std::string& option, const std::string& path, const std::vector<std::string>& inputs) {
  check_place(option, path);
  std::vector<fs::path> precious;
  for (const std::string& input : inputs) {
    if (!holds_run(input) || is_checkpoint_folder(input)) {
      precious.emplace_back(input);
      continue;
    }
    for (const char* own : kRunsOwn) precious.push_back(fs::path(input) / own);
  }
  for (const fs::path& input : precious) {
    // The bytes go to PATH.partial first.
    for (const std::string& written : {path, path + ".partial"}) {
      if (would_harm(written, input)) {
        refuse(option, path,
               fmt::format("it would overwrite {} or a part of it, which is read; give another path", input.string()));
      }
    }
  }
}

}  // namespace muster
