// A number that the terms of an objective share: the logarithm of the logit scale, the logit bias.
#pragma once

#include <ATen/core/Tensor.h>

namespace muster {

class SharedNumber {
 public:
  // Learnable: a 0-dim float32 leaf that an optimizer may move.
  SharedNumber(double init, bool learnable);

  // As it is now. Keeps all digits of the double that was set for as long as nobody else writes the leaf.
  double value() const;
  void set(double value);

  void clamp(double least, double most);

  // Undefined if it is not learnable.
  const at::Tensor& leaf() const { return leaf_; }

 private:
  double value_;
  at::Tensor leaf_;
};

}  // namespace muster
