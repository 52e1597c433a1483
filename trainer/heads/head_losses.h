// The heads' part of a training step: weighted means over the global batch, exact for any cut of it.
//
// For one thread. Of each batch: begin() on every rank, forward() for each chunk of it, finish() on every rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "trainer/heads/head.h"

namespace muster {

struct HeadValues {
  std::vector<double> means;  // of each head, over the global batch, the same on every rank
  double weighted = 0;        // their weighted sum
};

class HeadLosses {
 public:
  // Both must outlive it.
  HeadLosses(Heads heads, Model& model, Communicator& communicator);

  bool need_references() const;
  // What the model's forward must give, the same in every pass of a step.
  TokenRequest tokens() const;
  std::vector<std::string> names() const;

  // `batch`: this rank's rows; `references` [b, d]: of each, undefined if none are needed. Collective.
  void begin(const Batch& batch, double epoch, uint64_t seed, const at::Tensor& references);

  // What rows [first, first + rows.size()) add to the weighted sum of means, with a graph: this rank's and all ranks'
  // parts sum to it. Undefined if they add nothing. `live`: the model's of these rows.
  at::Tensor forward(const Batch& rows, const Features& live, int64_t first);

  // d weighted sum / d references, after backward: of this rank's part, which is all there is of its rows. Undefined if
  // none were given.
  at::Tensor reference_gradients() const;

  // Collective.
  HeadValues finish();

  // The heads' sums of these rows, added up, with a graph: for what memory it takes, with any references [b, d]. Apart
  // from begin() and finish().
  at::Tensor rehearse(const Batch& rows, const Features& live, const at::Tensor& references, uint64_t seed) const;

 private:
  Heads heads_;
  Model& model_;
  Communicator& communicator_;
  uint64_t seed_ = 0;
  at::Tensor references_;
  std::vector<double> factors_;  // weight / global count
  std::vector<double> weights_;
  std::vector<double> counts_;
  at::Tensor sums_;  // [heads] float64: of this rank's chunks so far, after finish() of all ranks'
};

}  // namespace muster
