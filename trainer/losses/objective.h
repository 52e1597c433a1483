// The weighted sum of losses over the global batch, with exact gradients for any number of ranks.
//
// Everything here is outside autograd: evaluate() is a pure function of its inputs and of the objective's own
// parameters. fp32 features are computed with fp32 products and fp32 logits, float64 features in float64. Features are
// on the CPU. Rows are normalised inside; a row with norm <= 1e-12 has cosines of 0 and a gradient of 0. Features that
// are not finite on any rank make every term NaN on every rank; the gradients are then meaningless.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "trainer/features.h"
#include "trainer/losses/losses.pb.h"
#include "trainer/losses/pair_loss.h"

namespace muster {

// Value and gradients of one evaluation.
struct LossResult {
  double value = 0;                         // weighted sum, of the global batch: the same on every rank
  std::vector<double> terms;                // each term's own value, unweighted, the same on every rank
  Features gradient;                        // d value / d raw features of this rank's rows; same shapes and dtype
  std::vector<at::Tensor> parameter_grads;  // 0-dim float64, this rank's share, in the order of parameters(): the
                                            // ranks' shares sum to the gradient
};

class LossObjective {
 public:
  // ConfigError naming the field: no term, a weight that is not finite, a temperature or scale that is not positive.
  explicit LossObjective(const Objective& config);
  // The same with tiles of another size, which changes the order of sums and the memory, nothing else: for tests.
  LossObjective(const Objective& config, const TileShape& shape);
  ~LossObjective();
  LossObjective(const LossObjective&) = delete;
  LossObjective& operator=(const LossObjective&) = delete;

  // Collective: every rank calls it with its rows, in rank order of the global batch. Numbers of rows may differ, and
  // be zero. Uses the first pair of features. DataError if no rank has a row.
  LossResult evaluate(const Features& local, const Labels& labels, const Progress& progress,
                      Communicator& communicator);

  // Learnable parameters: ("objective.log_scale", 0-dim float32 leaf). Empty if nothing is learnable or no term uses
  // it.
  const std::vector<std::pair<std::string, at::Tensor>>& parameters() const;

  // exp(log_scale) as it is now, whether it is learnable or not.
  double logit_scale() const;
  // Keeps all digits of the double for as long as nobody else writes the leaf.
  void set_log_scale(double log_scale);

  // Clamps log_scale to [0, log(max)]; call after each optimizer step.
  void clamp();

  // "info_nce", "sdm", ... in term order, for logs; a repeated name gets its index appended.
  const std::vector<std::string>& term_names() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace muster
