// A run's checkpoints as all its ranks see them: rank 0 reads and writes (ranks write their rows of a sharded reference
// bank themselves), everything travels, all agree on what failed.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "dataloader/training_stores.h"
#include "launch/error.h"
#include "launch/trace.h"
#include "trainer/checkpoint.h"
#include "trainer/optimizer.h"
#include "trainer/references/reference_bank.h"
#include "trainer/replica.h"
#include "trainer/weight_average.h"

namespace muster {

// What training changes; must outlive whoever holds this.
struct TrainedParts {
  const Model& model;
  const LossObjective& objective;
  const Heads& heads;
  Optimizer& optimizer;
  std::optional<WeightAverage>& average;  // resume() makes it, if the run keeps one
  ReferenceBank* references;              // null if the run keeps none
  const NamedTensors& reference_names;    // of its rows
};

// One per rank, for its training thread.
class RunCheckpoints {
 public:
  // `config`: the resolved config's text, kept with each checkpoint. Nothing is touched on disk.
  RunCheckpoints(const TrainedParts& parts, const std::string& run_dir, const std::string& config,
                 const TrainConfig& train, Communicator& communicator, TraceRecorder* recorder);

  // Collective. Fills all parts from the newest whole checkpoint, on every rank, and returns its state. Without one:
  // nullopt, and on every rank the weights that `initial_weights` (it may be null) leaves on rank 0; the references are
  // as they were. ConfigError: trained on other stores. DataError: as CheckpointStore::load_newest(); another model.
  std::optional<TrainState> resume(const TrainingStores& stores,
                                   const std::function<void(const NamedTensors&)>& initial_weights);

  // Collective. Copies what is saved and returns; rank 0 writes it while training goes on. If this save or the one
  // before fails, one log_error() line says so: earlier checkpoints stand, training goes on, the next save tries anew.
  void save(const TrainState& state);
  // Says so if the running save has failed meanwhile; for every step.
  void report();
  // Until the running save, if any, is on disk or has failed.
  void settle();
  // Collective. Until the last save is on disk. One that failed is done once more, with the state as it is now.
  // DataError: that failed too.
  void finish(const TrainState& state);

 private:
  void start_save(const TrainState& state);
  void lose(const DataError& error);
  void wait();
  NamedTensors averages() const;
  std::string place_of(const Snapshot& snapshot) const;
  void take(const Snapshot& snapshot, const TrainingStores& stores);
  void resume_references(const std::string& path, const TrainingStores& stores);

  const TrainedParts parts_;
  const std::string run_dir_;
  const std::string config_;
  const EmaConfig ema_;
  Communicator& communicator_;
  std::optional<CheckpointStore> store_;  // on rank 0
  bool is_lost_ = false;                  // the last save failed, as far as this rank knows
};

}  // namespace muster
