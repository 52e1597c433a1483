// A run's checkpoints: written while training goes on, found again after anything.
//
// Layout: trainer/checkpoint_layout.h. A checkpoint exists from one rename on, and every byte of it is hashed in its
// manifest, so whatever is killed or damaged, the newest whole one is found. Only rank 0 saves; any process may load.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <optional>
#include <set>
#include <string>

#include "launch/trace.h"
#include "trainer/checkpoint_files.h"
#include "trainer/checkpoint_layout.h"

namespace muster {

// For one thread; the writing thread is its own.
class CheckpointStore {
 public:
  // Touches nothing on disk until the first save. The writing thread records in `trace` if one is given.
  CheckpointStore(std::string run_dir, const CheckpointConfig& config, TraceRecorder* trace = nullptr);
  // Waits for a write that is running; its failure is logged.
  ~CheckpointStore();
  CheckpointStore(const CheckpointStore&) = delete;
  CheckpointStore& operator=(const CheckpointStore&) = delete;

  // Copies the tensors in memory (buffers are kept between saves) and returns; a thread writes them. Waits first if the
  // previous write is still running. DataError: the previous write failed; nothing is copied or started then, and the
  // next call tries anew.
  void save_async(const Snapshot& live);

  // For files that the ranks write themselves (Snapshot::references_in_place): waits for the running write, makes the
  // folder of this step's checkpoint and returns its path. DataError as save_async().
  std::string prepare(int64_t step);

  bool is_writing() const;

  // Until the running write, if any, is on disk. DataError: it failed; the checkpoints before it are untouched.
  void wait();

  // The newest whole checkpoint, verified byte for byte; nullopt if there never was one. Each damaged one is reported
  // in one log_warning line and passed over. DataError: there are checkpoints, and all of them are damaged.
  std::optional<Snapshot> load_newest();

  // The config's text of the newest checkpoint whose config is whole; nullopt if there is none. Says nothing.
  static std::optional<std::string> newest_config(const std::string& run_dir);

  // The checkpoint of this step. DataError: missing (it names those that are there) or damaged.
  Snapshot load(int64_t step);

  // Retention keeps this step until another is named, if the config says keep_best.
  void protect_best(int64_t step);

  // How long the last save_async() copied: what a step pays for a checkpoint.
  double last_copy_seconds() const { return last_copy_seconds_; }

 private:
  Snapshot read(const CheckpointFolder& folder) const;
  void write();
  void remove_old();
  void remove_leftovers_once();

  std::string checkpoints_;
  CheckpointConfig config_;
  TraceRecorder* trace_;
  std::atomic<int64_t> best_step_{-1};
  std::set<int64_t> damaged_;  // found by load_newest(); removed once a newer checkpoint is whole
  bool leftovers_removed_ = false;
  Snapshot copy_;
  double last_copy_seconds_ = 0;
  std::future<void> writing_;
};

}  // namespace muster
