// AdamW, Adam with L2, and SGD over named parameters, in place, by LibTorch's fused kernels.
//
// AdamW: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), algorithm 2 as torch.optim.AdamW has
// it:
//   p -= rate * decay * p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
//   p -= rate / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + epsilon)
// ADAM_L2 adds decay * p to g instead (torch.optim.Adam). SGD: p -= rate * (g + decay * p), no momentum.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "trainer/parameter_groups.h"
#include "trainer/trainer.pb.h"

namespace muster {

// For one thread. The same inputs give the same bits, at any number of threads.
class Optimizer {
 public:
  // Contiguous leaf tensors, frozen ones left out by the caller; their memory is updated in place. Rates and decays by
  // trainer/parameter_groups.h; `layers` is the model's, for layer_decay. ConfigError: a group whose glob matches
  // nothing.
  Optimizer(NamedParameters trainable, const OptimizerConfig& config, const LayersAbove& layers = {});

  // One update from each parameter's grad(), at rate config.rate * the group's multiplier * rate_factor. Gradients are
  // multiplied by gradient_scale (clipping) first, in place; 1 leaves them untouched. std::logic_error: a parameter
  // without a gradient.
  void step(double rate_factor, double gradient_scale);

  // "<name>.exp_avg", "<name>.exp_avg_sq" (of the parameter's shape and dtype; not for SGD) and "<name>.step" (0-dim
  // float32: updates done), in the parameters' order. They share memory with the optimizer: copy before the next step.
  NamedTensors state() const;

  // Takes over a state of the same parameters; all is checked before anything is changed. DataError naming `path` and
  // the first tensor that is missing, left over, or of another shape or dtype.
  void load_state(const NamedTensors& state, const std::string& path);

  // For the log. One line per group: pattern, tensors, parameters, rate (or least and largest), decay. With layer_decay
  // one more, with the rates of all layers.
  std::vector<std::string> describe_groups() const;

 private:
  // The parameters that share a rate, a decay and a device: one fused call.
  struct Bundle {
    double rate = 0;
    double decay = 0;
    std::vector<at::Tensor> parameters, exp_avgs, exp_avg_sqs, steps;
  };

  std::string describe_layers() const;
  Bundle& bundle_of(double rate, double decay, at::Device device);
  void update(Bundle& bundle, const std::vector<at::Tensor>& gradients, double rate);

  NamedParameters parameters_;
  OptimizerConfig config_;
  LayersAbove layers_;
  NamedTensors state_;
  std::vector<Bundle> bundles_;
};

// The Euclidean norm of all gradients together. Squares are summed in double in fixed blocks and a fixed order: the
// same bits at any number of threads; on a GPU by LibTorch's kernels, in double, gradient by gradient. A parameter
// without a gradient counts as zero.
double global_norm(const NamedParameters& parameters);

}  // namespace muster
