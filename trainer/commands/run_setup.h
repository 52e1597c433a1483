// What the commands that work on a run share: from config text to settings, threads, communicator and trained weights.
#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"
#include "configs/run.pb.h"
#include "launch/process.h"
#include "trainer/encoders/model.h"
#include "trainer/run_settings.h"

namespace muster {

RunSettings to_settings(const RunConfig& config);

// Starts the log and gives every tensor operation of this process `threads` threads; 0: cores / ranks on this host.
void start_computing(const Process& process, int threads);

// A run's model as a checkpoint holds it.
struct TrainedRun {
  RunSettings settings;
  std::string config;  // resolved, text format
  std::shared_ptr<Model> model;
  int64_t step = 0;
};

// Collective: rank 0 reads. `checkpoint`: "newest", "best" (on val) or a step's number. ConfigError: no run, no
// checkpoint.
TrainedRun load_trained_run(const std::string& run_dir, const std::string& checkpoint, Communicator& communicator);

}  // namespace muster
