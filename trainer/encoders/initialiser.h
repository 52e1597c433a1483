// First values of parameters, from a seed alone: the same bits on every rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace muster {

// Makes float32 tensors on the CPU. The n-th tensor made takes stream n, so modules must be built in a fixed order.
class Initialiser {
 public:
  // `first`: the first tensor's stream, for what is made beside a model.
  explicit Initialiser(uint64_t seed, uint64_t first = 0) : seed_(seed), tensors_(first) {}

  at::Tensor normal(at::IntArrayRef sizes, double standard_deviation);
  at::Tensor uniform(at::IntArrayRef sizes, double bound);  // in [-bound, bound)

 private:
  uint64_t seed_;
  uint64_t tensors_;
};

}  // namespace muster
