#include "trainer/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "dataloader/formats/atomic_file.h"
#include "launch/error.h"
#include "launch/log.h"
#include "trainer/config_fields.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxConfigBytes = 1 << 20;

}  // namespace

std::string config_path(const std::string& run_dir) {
  return run_dir + "/config.textproto";
}
std::string report_path(const std::string& run_dir) {
  return run_dir + "/report.html";
}
std::string evaluations_path(const std::string& run_dir) {
  return run_dir + "/evaluations.jsonl";
}

bool holds_run(const std::string& run_dir) {
  std::error_code error;
  return fs::exists(config_path(run_dir), error) || error || fs::exists(run_dir + "/checkpoints", error) || error;
}

void check_continues(const std::string& run_dir, const std::string& there, const std::string& here) {
  const ConfigFields old_fields = list_config_fields(there);
  const ConfigFields new_fields = list_config_fields(here);
  const auto value_in = [](const auto& fields, const std::string& name) -> std::string {
    const auto found =
        std::find_if(fields.begin(), fields.end(), [&](const auto& field) { return field.first == name; });
    return found == fields.end() ? "not set" : found->second;
  };
  for (const auto* fields : {&old_fields, &new_fields}) {
    for (const auto& field : *fields) {
      if (!decides_results(field.first)) continue;
      const std::string before = value_in(old_fields, field.first), now = value_in(new_fields, field.first);
      if (before == now) continue;
      throw ConfigError(
          fmt::format("{} holds a run of another config: {} is {} there and {} here; give another --run, "
                      "or continue with --config {}",
                      run_dir, field.first, before, now, config_path(run_dir)));
    }
  }
}

void make_run_folder(const std::string& run_dir) {
  std::error_code error;
  fs::create_directories(run_dir, error);
  if (error) throw DataError(fmt::format("{}: cannot make the run folder: {}", run_dir, error.message()));
}

void write_run_config(const std::string& run_dir, const std::string& config) {
  write_file_atomically(config_path(run_dir), config);
}

RunFolderLock::RunFolderLock(const std::string& run_dir) {
  const std::string path = run_dir + "/lock";
  descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) {
    throw DataError(fmt::format("cannot open {}: {}; give a --run that may be written", path, std::strerror(errno)));
  }
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
