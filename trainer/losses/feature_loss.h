// A loss of a pair of feature matrices as a whole: the plug-in for losses that are no sums over pairs of an image and a
// text (pair_loss.h) and need none of their similarities.
#pragma once

#include <cstdint>

#include "comm/communicator.h"
#include "trainer/features.h"
#include "trainer/losses/pair_loss.h"

namespace muster {

// Of an evaluation on a rank with `rows` rows of `width`, none of them weighted.
struct FeatureLossCost {
  int64_t summed_numbers = 0;  // float64 that the ranks sum, under the name "loss.whole"
  double flop = 0;             // of its matrix products
  int64_t bytes = 0;           // of its matrices, about
};

class FeatureLoss {
 public:
  virtual ~FeatureLoss() = default;
  virtual FeatureLossCost cost(int64_t rows, int64_t width) const = 0;

  // `local`: this rank's raw rows, image and text [b, d] of float32 or float64, where the objective computes. Returns
  // the value over the global batch, the same bits on every rank, NaN where a feature of any rank is not finite. Adds
  // `weight` times its gradient with respect to the raw rows to `gradient`, of the same shapes. Collective.
  virtual double evaluate(const FeaturePair& local, const PairBatch& batch, double weight, const FeaturePair& gradient,
                          Communicator& communicator) const = 0;
};

}  // namespace muster
