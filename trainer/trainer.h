// The training loop: while not done { step; log; maybe evaluate; maybe save; agree on stop }.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "dataloader/formats/safetensors.h"
#include "dataloader/training_stores.h"
#include "trainer/run_settings.h"
#include "trainer/step_trace.h"

namespace muster {

// Makes model, objective, optimizer, loader and reducer from the settings; continues from the newest complete
// checkpoint in `run_dir` if there is one, so that the run's losses, samples and weights are bit-equal to one that
// never stopped (same binary, CPU type, world size and threads; at another world size the same samples).
class Trainer {
 public:
  // Collective. The model is computed on `device`, choose_device()'s, whose tensors the communicator takes. `config` is
  // the resolved config's text, kept with each checkpoint; `communicator`, the stores and the
  // trace's recorder must outlive the trainer, and the communicator should record to that recorder as well.
  // `host_memory`: bytes of its host that a rank may take, for train.chunk AUTO on a CPU.
  // `initial_weights` fills in the model's and the objective's tensors to start from; it is called on rank 0, and only
  // if `run_dir` holds no checkpoint; what it leaves as it is was drawn from the seed. ConfigError: as make_sampler();
  // fewer samples a batch than ranks; a checkpoint of another model or of other stores; a window of steps to trace that
  // this run will not see.
  Trainer(const RunSettings& settings, const std::string& config, const TrainingStores& stores,
          const std::string& run_dir, Communicator& communicator,
          const std::function<void(const NamedTensors&)>& initial_weights = nullptr, const TraceRequest& trace = {},
          at::Device device = at::kCPU, int64_t host_memory = std::numeric_limits<int64_t>::max());
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // Collective. Trains to the last step, evaluates on the first store's val (if it has one that is not
  // trained on) and saves. Returns false if a signal
  // asked to stop, or `stop_after` steps are done: then it has saved and stopped before the end. NonFiniteError, on
  // every rank: more than train.non_finite.skip steps in a row were not finite. CommError, on every rank: the ranks
  // hold different weights.
  bool run(int64_t stop_after = std::numeric_limits<int64_t>::max());

  int64_t step() const;
  int64_t total_steps() const;
  // Of the run's steps so far: those that changed nothing, as loss or gradient was not finite.
  int64_t skipped_steps() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace muster
