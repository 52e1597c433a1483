#include "trainer/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "dataloader/formats/atomic_file.h"
#include "launch/error.h"
#include "launch/log.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxConfigBytes = 1 << 20;

// Fields that a later part of a run may change.
constexpr std::array<std::string_view, 9> kFree = {
    "comm.",           "data.workers",      "data.prefetch",     "train.chunk",          "train.threads",
    "train.log_every", "train.evaluation.", "train.checkpoint.", "data.tokenizer.merges"};

bool is_free(const std::string& field) {
  return std::any_of(kFree.begin(), kFree.end(),
                     [&](std::string_view prefix) { return field.compare(0, prefix.size(), prefix) == 0; });
}

// Text format with one field a line -> ("train.optimizer.rate", "0.0005") in order; repeated messages are numbered.
std::vector<std::pair<std::string, std::string>> flatten(const std::string& text) {
  std::vector<std::pair<std::string, std::string>> fields;
  std::vector<std::string> path;
  std::map<std::string, int> seen;
  std::istringstream lines(text);
  const auto full_name = [&](const std::string& name) {
    std::string full;
    for (const std::string& part : path) full += part + ".";
    return full + name;
  };
  const auto numbered = [&](const std::string& name) {
    const int number = seen[full_name(name)]++;
    return number == 0 ? name : fmt::format("{}[{}]", name, number);
  };
  for (std::string line; std::getline(lines, line);) {
    line.erase(0, line.find_first_not_of(' '));
    if (line.empty()) continue;
    if (line == "}") {
      if (!path.empty()) path.pop_back();
    } else if (line.back() == '{') {
      path.push_back(numbered(line.substr(0, line.find_last_not_of(" {") + 1)));
    } else {
      const size_t colon = line.find(": ");
      fields.emplace_back(full_name(numbered(line.substr(0, colon))), line.substr(std::min(line.size(), colon + 2)));
    }
  }
  return fields;
}

void check_continues(const std::string& run_dir, const std::string& there, const std::string& here) {
  const auto keep_deciding = [](std::vector<std::pair<std::string, std::string>> fields) {
    fields.erase(std::remove_if(fields.begin(), fields.end(), [](const auto& field) { return is_free(field.first); }),
                 fields.end());
    return fields;
  };
  const auto old_fields = keep_deciding(flatten(there));
  const auto new_fields = keep_deciding(flatten(here));
  const auto value_in = [](const auto& fields, const std::string& name) -> std::string {
    const auto found =
        std::find_if(fields.begin(), fields.end(), [&](const auto& field) { return field.first == name; });
    return found == fields.end() ? "not set" : found->second;
  };
  for (const auto* fields : {&old_fields, &new_fields}) {
    for (const auto& field : *fields) {
      const std::string before = value_in(old_fields, field.first), now = value_in(new_fields, field.first);
      if (before == now) continue;
      throw ConfigError(
          fmt::format("{} holds a run of another config: {} is {} there and {} here; give another --run, "
                      "or continue with --config {}",
                      run_dir, field.first, before, now, config_path(run_dir)));
    }
  }
}

}  // namespace

std::string config_path(const std::string& run_dir) {
  return run_dir + "/config.textproto";
}
std::string report_path(const std::string& run_dir) {
  return run_dir + "/report.html";
}

bool holds_run(const std::string& run_dir) {
  std::error_code error;
  return fs::exists(config_path(run_dir), error) || error;
}

void check_run_folder(const std::string& run_dir, const std::string& config) {
  if (holds_run(run_dir)) check_continues(run_dir, read_run_config(run_dir), config);
}

void open_run_folder(const std::string& run_dir, const std::string& config) {
  std::error_code error;
  fs::create_directories(run_dir, error);
  if (error) throw DataError(fmt::format("{}: cannot make the run folder: {}", run_dir, error.message()));
  write_file_atomically(config_path(run_dir), config);
}

RunFolderLock::RunFolderLock(const std::string& run_dir) {
  const std::string path = run_dir + "/lock";
  descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) throw DataError(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int reason = errno;
  close(descriptor_);
  if (reason == EWOULDBLOCK) {
    throw ConfigError(
        fmt::format("{} is being trained by another process; wait for it, or give another --run", run_dir));
  }
  log_warning(fmt::format("{} cannot be locked ({}): do not train in it twice at once", path, std::strerror(reason)));
  descriptor_ = -1;
}

RunFolderLock::~RunFolderLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

std::string read_run_config(const std::string& run_dir) {
  if (!holds_run(run_dir)) {
    throw ConfigError(
        fmt::format("{} holds no run (no config.textproto in it); give the folder of muster train --run", run_dir));
  }
  return read_file(config_path(run_dir), kMaxConfigBytes);
}

}  // namespace muster
