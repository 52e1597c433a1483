// A loss of single samples: what the trainer asks of it.
//
// Sums and counts are of some rows of the batch; the step adds them up over chunks and ranks, so that a head never sees
// a mean of means. Random choices are pure functions of (seed, position in the sample stream): every cut of the batch
// gives the same ones.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/batch.h"
#include "trainer/encoders/model.h"

namespace muster {

class Head : public torch::nn::Module {
 public:
  // As in configs and logs.
  virtual std::string name() const = 0;
  // Whether sum() is to be given references.
  virtual bool needs_references() const = 0;
  // Which tokens sum() is to find among the features.
  virtual TokenRequest tokens() const { return {}; }
  // What its mean is multiplied with.
  virtual double weight(double epoch) const = 0;

  // How many terms the sum of these rows has.
  virtual int64_t count(const Batch& batch, uint64_t seed) const = 0;

  // The sum of the rows' terms: 0-dim float32 (float64 if the model is), with a graph if grad mode is on. `live`: what
  // the model's forward gave for these rows, with its graph. `references` [b, d]: each row's own; undefined unless
  // asked for. May call the model again. The batch has rows.
  virtual at::Tensor sum(const Batch& batch, const Features& live, const at::Tensor& references, Model& model,
                         uint64_t seed) const = 0;
};

using Heads = std::vector<std::shared_ptr<Head>>;

inline constexpr const char* kHeadsPrefix = "heads.";
// "heads.<head>.", what the names of a head's parameters begin with.
std::string parameter_prefix(const Head& head);

}  // namespace muster
