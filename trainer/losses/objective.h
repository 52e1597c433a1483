// The weighted sum of losses over the global batch, with exact gradients for any number of ranks.
//
// Everything here is outside autograd: evaluate() is a pure function of its inputs and of the objective's own
// parameters. fp32 features are computed with fp32 products and fp32 logits, float64 features in float64. Features are
// on the CPU, or on the device that the objective is made for. Rows are normalised inside; a row with norm <= 1e-12 has
// cosines of 0 and a gradient of 0. Features that are not finite on any rank make every term of their pair NaN on every
// rank; the gradients are then meaningless.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "trainer/features.h"
#include "trainer/losses/global_batch.h"
#include "trainer/losses/losses.pb.h"
#include "trainer/losses/objective_config.h"
#include "trainer/losses/pair_loss.h"
#include "trainer/losses/tile_device.h"

namespace muster {

// Value and gradients of one evaluation.
struct LossResult {
  double value = 0;           // weighted sum, of the global batch: the same on every rank
  std::vector<double> terms;  // each term's own value, unweighted, the same on every rank; 0 if it does not count now
  // Of each term: what this rank's samples are of it as anchors, image and caption, unweighted (tal); else empty.
  std::vector<std::vector<double>> samples;
  Features gradient;  // d value / d raw features of this rank's rows; same pairs, shapes, dtype, device
  std::vector<at::Tensor> parameter_grads;  // 0-dim float64, this rank's share, in the order of parameters(): the
                                            // ranks' shares sum to the gradient
};

class LossObjective {
 public:
  // ConfigError with all of find_problems().
  explicit LossObjective(const Objective& config);
  LossObjective(const Objective& config, const LossDevice& device);
  // The same with tiles of another size, which changes the order of sums and the memory, nothing else: for tests.
  LossObjective(const Objective& config, const TileShape& shape, const LossDevice& device = {});
  ~LossObjective();
  LossObjective(const LossObjective&) = delete;
  LossObjective& operator=(const LossObjective&) = delete;

  // Collective: every rank calls it with its rows, in rank order of the global batch. Numbers of rows may differ, and
  // be zero. Each term takes the pair of features that it names; a pair that no term names gets a gradient of 0. The
  // terms of one pair cost four matrix products together, those of whole matrices (feature_loss.h) their own. Terms
  // with a ramp take the epoch of `progress`. ConfigError, before any exchange, if a term's pair is not
  // among the features; DataError if no rank has a row or a sample's weight is impossible; CommError if ranks differ in
  // the features' widths or in whether there are weights.
  LossResult evaluate(const Features& local, const Labels& labels, const Progress& progress,
                      Communicator& communicator);

  // The same in two parts, between which the images may be encoded. begin() wants names and texts of the features
  // alone, and starts what travels of them and of the labels; evaluate() waits for it. Texts and labels stay as they
  // are meanwhile. Both collective; of the errors above, begin() throws all but that of a sample's weight.
  GatheringBatch begin(const Features& texts, const Labels& labels, Communicator& communicator) const;
  LossResult evaluate(const Features& local, const Labels& labels, const Progress& progress, GatheringBatch gathering,
                      Communicator& communicator);

  // Learnable parameters, 0-dim float32 leaves: "objective.log_scale" and "objective.logit_bias", each if it is
  // learnable and a term uses it.
  const std::vector<std::pair<std::string, at::Tensor>>& parameters() const;

  // exp(log_scale) as it is now, whether it is learnable or not.
  double logit_scale() const;
  // Keeps all digits of the double for as long as nobody else writes the leaf.
  void set_log_scale(double log_scale);

  // The same of the bias, which only some losses have.
  bool uses_logit_bias() const;
  double logit_bias() const;
  void set_logit_bias(double bias);

  // Clamps log_scale to [0, log(max)]; call after each optimizer step.
  void clamp();

  // "info_nce", "sdm", ... in term order, for logs; those of another pair than "global" are "tal.local", and a repeated
  // name gets its index appended.
  const std::vector<std::string>& term_names() const;

  // Whether a term counts at a step of the run, from 0 on; one that does not has the value 0.
  bool counts_at(size_t term, int64_t step) const;

  // What a term's value is, with global batches of this size, if all scores are equal, of a loss that can get stuck
  // there; 0: none.
  double collapsed_value(size_t term, int64_t batch) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace muster
