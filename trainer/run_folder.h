// A run's folder on disk: what stands where, and whether a config may continue the run that is there.
//
//   config.textproto     the resolved config
//   checkpoints/         trainer/checkpoint.h
//   metrics.jsonl, tensorboard/, evaluations.jsonl, report.html, trace.rank*.json
#pragma once

#include <string>

namespace muster {

std::string config_path(const std::string& run_dir);
std::string report_path(const std::string& run_dir);
std::string evaluations_path(const std::string& run_dir);

// Whether a run is there, its config or checkpoints; true too where that cannot be told, so that reading it says why.
bool holds_run(const std::string& run_dir);

// Checks that a config continues the run that is in the folder. `there` and `here`: the run's config and the new one,
// both resolved by this program and in text format, so that a field younger than the run has its default on both sides.
// ConfigError names the first field that decides results and differs. Fields that decide speed, memory or output only
// may differ; they are listed in run_folder.cpp.
void check_continues(const std::string& run_dir, const std::string& there, const std::string& here);

// Makes the folder if it is not there. DataError.
void make_run_folder(const std::string& run_dir);

// Writes the resolved config into it. DataError.
void write_run_config(const std::string& run_dir, const std::string& config);

// Held by the process that trains in the folder, through the file `lock`; the kernel lets go of it however the process
// ends. ConfigError if another process holds it; a file system without locks gives a warning.
class RunFolderLock {
 public:
  // The folder must exist.
  explicit RunFolderLock(const std::string& run_dir);
  ~RunFolderLock();
  RunFolderLock(const RunFolderLock&) = delete;
  RunFolderLock& operator=(const RunFolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

// ConfigError if `run_dir` holds no run.
std::string read_run_config(const std::string& run_dir);

}  // namespace muster
