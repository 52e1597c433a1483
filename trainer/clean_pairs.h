// RDE's division of training pairs into clean and noisy ones (Qin et al., CVPR 2024, confident consensus division;
// github.com/QinYang79/RDE, processor/processor.py).
//
// At an epoch's start its batches, as the loader will give them to training, go through the model in evaluation mode:
// float32, without dropout, batch norm by its running statistics. Each sample's loss of each term, image and caption as
// anchors, depends on the others of its batch, which are the same whatever the ranks. Then, for each term:
//
//   losses scaled to 0 .. 1; a mixture of two normal distributions (gaussian_mixture.h)
//   clean: those whose probability of the one with the smaller mean is above 0.5; if all are, above the probability of
//          which one in a hundred has less
//
// and a sample counts as an anchor in this epoch if it is clean for all terms, or for some and the coin of (seed,
// position) says so. Public code makes its pass in another order, with other augmentation and with the samples that no
// batch of the epoch holds; its mixture starts at random.
//
// The outcome is a function of the run's seed and of the weights at the epoch's start: the same bits on every rank, and
// of the same ranks and threads in every run. Over other numbers of ranks losses agree to 2e-5, so that a pair on the
// border may fall to the other side.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "dataloader/tokenizer.h"
#include "dataloader/training_stores.h"
#include "trainer/encoders/model.h"
#include "trainer/losses/objective.h"
#include "trainer/run_settings.h"

namespace muster {

bool divides_pairs(const TrainConfig& train);

// Of one term's losses. NonFiniteError if one is not finite; all are clean if all are equal.
std::vector<bool> find_clean(std::vector<double> losses, const CleanPairsConfig& config);

// Whether each counts, of what each term says (the same number of samples each), the first at this position.
std::vector<bool> agree_on_clean(const std::vector<std::vector<bool>>& terms, uint64_t seed, int64_t first_position);

// The division of the epoch that is trained in. For one thread; all references must outlive it.
class PairDivision {
 public:
  PairDivision(const RunSettings& settings, const TrainingStores& stores, const Tokenizer& tokenizer, Model& model,
               LossObjective& objective, Communicator& communicator, int64_t steps_per_epoch);

  // Divides this epoch's pairs if it has not been done; rank 0 says in the log what came out. Collective; true if
  // anything was done. The model is left in training mode. Errors as Loader::next() and find_clean().
  bool begin_epoch(int64_t epoch);

  // float64 [b], 1 or 0, of positions [b] of the epoch.
  at::Tensor weights(const at::Tensor& positions) const;

  // For a checkpoint, and from it. DataError: it is of another number of pairs.
  CleanPairs state() const;
  void resume(const CleanPairs& state);

 private:
  // [terms, pairs of the epoch], all ranks'.
  at::Tensor measure(int64_t epoch);

  const RunSettings settings_;
  const TrainingStores& stores_;
  const Tokenizer& tokenizer_;
  Model& model_;
  LossObjective& objective_;
  Communicator& communicator_;
  int64_t steps_, pairs_;  // of an epoch
  int64_t epoch_ = -1;
  std::vector<bool> clean_;  // of its positions
};

}  // namespace muster
