// One training step: design of the whole system in thirty lines.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/gradient_reducer.h"
#include "dataloader/batch.h"
#include "launch/trace.h"
#include "trainer/encoders/model.h"
#include "trainer/heads/head_losses.h"
#include "trainer/losses/objective.h"
#include "trainer/optimizer.h"
#include "trainer/references/reference_bank.h"
#include "trainer/trainer.pb.h"

namespace muster {

struct StepOptions {
  uint64_t seed = 0;
  int64_t chunk = 0;     // rows per forward; 0: all at once
  double clip_norm = 0;  // 0: never
  bool bf16 = false;     // encoders under autocast
  TraceRecorder* trace = nullptr;
};

StepOptions step_options(const TrainConfig& config, TraceRecorder* trace = nullptr);

// Those samples of a batch, with the regions that are theirs; shares its memory.
Batch slice_batch(const Batch& batch, Slice rows);

struct StepResult {
  double loss = 0;            // over the global batch, the same on every rank
  std::vector<double> terms;  // unweighted, in the order of term_names()
  double gradient_norm = 0;   // before clipping, over all ranks, the same on every rank
  double reduce_wait_seconds = 0;

  // From numbers that all ranks have in the same bits: they decide alike.
  bool is_finite() const { return std::isfinite(loss) && std::isfinite(gradient_norm); }
};

// Ties the parts of a step together; all must outlive it. Every rank calls run() with its slice of the same global
// batch (a slice may be empty).
class TrainingStep {
 public:
  // `trainable`: the parameters that `reducer` and `optimizer` were made with, in their order. `references`: a bank
  // that is trained with the model; null: none. `heads`: whose parameters are among `trainable`; null: none.
  // std::logic_error: heads that need references, and no bank.
  TrainingStep(Model& model, LossObjective& objective, NamedParameters trainable, GradientReducer& reducer,
               Optimizer& optimizer, Communicator& communicator, const StepOptions& options,
               ReferenceBank* references = nullptr, HeadLosses* heads = nullptr);

  // Of the objective's terms, then "references", then the heads.
  std::vector<std::string> term_names() const;

  // Collective. A step that is not finite (see its result) changes nothing: no parameter, no buffer, no optimizer
  // state, no reference. ConfigError, on the rank that has it, if the device's memory is too small: it names the next
  // chunk. `weight`: of the rows, as Labels::weight.
  StepResult run(const Batch& batch, const Progress& progress, double rate_factor, const at::Tensor& weight = {});

  // Rows per forward from now on; 0: all at once.
  void set_chunk(int64_t rows) { options_.chunk = rows; }

  // Forward and backward of these rows as one chunk, without losses and collectives: c10::OutOfMemoryError where they
  // do not fit. Gradients are zeros afterwards, all else is as before.
  void rehearse(const Batch& rows);

  // The same without the optimizer: parameters keep their values, gradients hold the sum over ranks. For tests.
  StepResult compute_gradients(const Batch& batch, const Progress& progress, const at::Tensor& weight = {});

 private:
  StepResult run_in_memory(const Batch& batch, const Progress& progress, double rate_factor, const at::Tensor& weight);
  // All chunks of a batch, encoded.
  struct Encoded {
    std::vector<Features> live;  // of each chunk, with a graph if there is but one
    Features features;           // of all, without a graph
    GatheringBatch gathering;    // their texts, on the way
  };
  TokenRequest tokens() const;
  Encoded encode(const std::vector<Batch>& chunks, const Labels& labels);
  Features forward_again(const Batch& chunk);
  LossResult evaluate(Encoded encoded, const Labels& labels, const Progress& progress);
  void add_references(const Features& features, const Labels& labels, const Progress& progress, LossResult& loss);
  std::vector<at::Tensor> final_before_backward() const;
  void begin_heads(const Batch& batch, const Progress& progress);
  at::Tensor head_losses(const Batch& rows, const Features& live, int64_t first);
  void finish_heads(LossResult& loss);

  Model& model_;
  at::Device device_;  // the model's
  LossObjective& objective_;
  NamedParameters trainable_;
  GradientReducer& reducer_;
  Optimizer& optimizer_;
  Communicator& communicator_;
  StepOptions options_;
  ReferenceBank* references_;
  HeadLosses* heads_;
};

}  // namespace muster
