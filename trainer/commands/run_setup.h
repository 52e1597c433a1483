// What the commands that work on a run share: from config text to settings, threads, communicator and trained weights.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "configs/run.pb.h"
#include "dataloader/formats/safetensors.h"
#include "launch/process.h"
#include "trainer/encoders/model.h"
#include "trainer/heads/image_restoration.h"
#include "trainer/run_settings.h"

namespace muster {

RunSettings to_settings(const RunConfig& config);

// Starts the log and gives every tensor operation of this process `threads` threads; 0: cores / ranks on this host.
void start_computing(const Process& process, int threads);

enum class Weights {
  kAuto,  // the average if the run keeps one (train.ema), else the weights themselves
  kRaw,
  kEma,
};

// Of --weights: "auto", "raw", "ema". ConfigError otherwise.
Weights weights_from_name(const std::string& name);

// A checkpoint's tensors on this process: the model's and the objective's.
struct StoredWeights {
  NamedTensors tensors;
  int64_t step = 0;
  std::string store_fingerprint;  // of the store it was trained on
};

// A checkpoint's own folder: it carries its config, so that it can be used alone, wherever it lies.
bool is_checkpoint_folder(const std::string& path);

// `run_dir`: a run's folder, or that of one checkpoint. `checkpoint`: "newest", "best" (on val) or a step's number; a
// checkpoint's folder has only itself. ConfigError: no checkpoint there, or no average though that is asked for.
StoredWeights read_weights(const std::string& run_dir, const std::string& checkpoint, const RunConfig& config,
                           Weights weights);

// A run's model as a checkpoint holds it.
struct TrainedRun {
  RunSettings settings;
  std::string config;  // resolved, text format
  std::shared_ptr<Model> model;
  int64_t step = 0;
  std::string store_fingerprint;  // of the store it was trained on
};

// Collective: rank 0 reads. The model is put on the device that its config names (choose_device()). Errors and
// arguments as read_weights(). ConfigError: no run.
TrainedRun load_trained_run(const std::string& run_dir, const std::string& checkpoint, Weights weights,
                            const Process& process, Communicator& communicator);

// The run's heads.image_restoration as the run's checkpoint has it, on the model's device. Not collective.
std::shared_ptr<ImageRestoration> load_restoration(const std::string& run_dir, const TrainedRun& run, Weights weights);

// Collective. The steps of the checkpoints that a run has kept, ascending. ConfigError: no run, no checkpoint.
std::vector<int64_t> kept_steps(const std::string& run_dir, Communicator& communicator);

}  // namespace muster
