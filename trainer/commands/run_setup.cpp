#include "trainer/commands/run_setup.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iterator>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>

#include "configs/load.h"
#include "launch/error.h"
#include "launch/log.h"
#include "trainer/checkpoint.h"
#include "trainer/checkpoint_layout.h"
#include "trainer/commands/run_config.h"
#include "trainer/device.h"
#include "trainer/losses/objective.h"
#include "trainer/replica.h"
#include "trainer/run_folder.h"

namespace muster {
namespace {

Snapshot find_checkpoint(const std::string& run_dir, const std::string& which, const CheckpointConfig& config) {
  if (is_checkpoint_folder(run_dir)) {
    if (which == "newest") return read_checkpoint(run_dir);
    throw ConfigError(fmt::format("{} is one checkpoint; leave out --checkpoint {}", run_dir, which));
  }
  CheckpointStore checkpoints(run_dir, config);
  std::optional<Snapshot> newest = checkpoints.load_newest();
  if (!newest) throw ConfigError(fmt::format("{} holds no complete checkpoint; train it first", run_dir));
  if (which == "newest") return std::move(*newest);
  if (which == "best") {
    if (!newest->state.has_best_step()) {
      throw ConfigError(
          fmt::format("{} was never evaluated on val, so it has no best checkpoint; use --checkpoint newest", run_dir));
    }
    return checkpoints.load(newest->state.best_step());
  }
  int64_t step = 0;
  const auto [end, error] = std::from_chars(which.data(), which.data() + which.size(), step);
  if (error != std::errc() || end != which.data() + which.size()) {
    throw ConfigError(fmt::format("--checkpoint is newest, best or a step's number, not '{}'", which));
  }
  return checkpoints.load(step);
}

// A checkpoint's model, heads and objective.
NamedTensors choose_weights(const Snapshot& snapshot, const std::string& run_dir, Weights weights) {
  const bool average = weights == Weights::kEma || (weights == Weights::kAuto && !snapshot.ema.empty());
  if (average && snapshot.ema.empty()) {
    throw ConfigError(
        fmt::format("{} keeps no average of its weights (train.ema.decay is 0); take the weights "
                    "themselves (raw)",
                    run_dir));
  }
  return average ? snapshot.ema : snapshot.model;
}

}  // namespace

bool is_checkpoint_folder(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path + "/" + kModelFile, error);
}

RunSettings to_settings(const RunConfig& config) {
  return {config.model(), config.data(),       config.objective(), config.train(),
          config.comm(),  config.references(), config.heads()};
}

void start_computing(const Process& process, int threads) {
  LogOptions log;
  log.rank = process.rank();
  log.world_size = process.world_size();
  start_logging(log);
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  at::set_num_threads(threads > 0 ? threads : std::max(1, cores / process.local_size()));
}

Weights weights_from_name(const std::string& name) {
  if (name == "auto") return Weights::kAuto;
  if (name == "raw") return Weights::kRaw;
  if (name == "ema") return Weights::kEma;
  throw ConfigError(fmt::format("--weights is auto, raw or ema, not '{}'", name));
}

StoredWeights read_weights(const std::string& run_dir, const std::string& checkpoint, const RunConfig& config,
                           Weights weights) {
  const Snapshot snapshot = find_checkpoint(run_dir, checkpoint, config.train().checkpoint());
  return {without_heads(choose_weights(snapshot, run_dir, weights)), snapshot.state.step(),
          snapshot.state.store_fingerprint()};
}

std::shared_ptr<ImageRestoration> load_restoration(const std::string& run_dir, const TrainedRun& run, Weights weights) {
  const bool alone = is_checkpoint_folder(run_dir);
  const Snapshot snapshot =
      find_checkpoint(run_dir, alone ? "newest" : std::to_string(run.step), run.settings.train.checkpoint());
  const NamedTensors tensors = choose_weights(snapshot, run_dir, weights);
  auto head = make_image_restoration(run.settings.heads.image_restoration(), run.settings.model, 0);
  const at::NoGradGuard no_graph;
  for (auto& parameter : head->named_parameters()) {
    parameter.value().copy_(find_tensor(tensors, parameter_prefix(*head) + parameter.key(), run_dir));
  }
  head->to(run.model->device());
  return head;
}

TrainedRun load_trained_run(const std::string& run_dir, const std::string& checkpoint, Weights weights,
                            const Process& process, Communicator& communicator) {
  const RunConfig config = load_config_of(run_dir);
  TrainedRun run{to_settings(config), print_run_config(config), make_model(config.model(), config.train().seed()), 0,
                 ""};
  const LossObjective objective(config.objective());
  const NamedTensors tensors = replica_tensors(*run.model, objective);
  std::string step;
  if (communicator.rank() == 0) {
    const StoredWeights stored = read_weights(run_dir, checkpoint, config, weights);
    copy_tensors(stored.tensors, tensors, fmt::format("{}/checkpoints step {}", run_dir, stored.step));
    step = std::to_string(stored.step);
    run.store_fingerprint = stored.store_fingerprint;
  }
  run.step = std::stoll(broadcast_string(step, communicator, "checkpoint step"));
  broadcast_tensors(tensors, communicator, "weights");
  run.store_fingerprint = broadcast_string(run.store_fingerprint, communicator, "store fingerprint");
  run.model->to(choose_device(config.train().device(), process));
  run.model->eval();
  return run;
}

std::vector<int64_t> kept_steps(const std::string& run_dir, Communicator& communicator) {
  read_run_config(run_dir);  // says so if there is no run
  std::string text;
  if (communicator.rank() == 0) {
    for (const CheckpointFolder& folder : list_checkpoints(run_dir + "/checkpoints", "")) {
      text += std::to_string(folder.step) + " ";
    }
  }
  std::istringstream words(broadcast_string(text, communicator, "kept steps"));
  std::vector<int64_t> steps{std::istream_iterator<int64_t>(words), {}};
  if (steps.empty()) throw ConfigError(fmt::format("{} holds no complete checkpoint; train it first", run_dir));
  std::sort(steps.begin(), steps.end());
  return steps;
}

}  // namespace muster
