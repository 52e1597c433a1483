// Batch norm (Ioffe and Szegedy, 2015; PyTorch's BatchNorm1d) of the rows of all ranks at once.
//
//   y = (x - mean) / sqrt(variance + 1e-5) * weight + bias
//
// While training, mean and variance are of all ranks' rows, and they move the running ones by 0.1 (of the variance the
// unbiased one); else the running ones are used. Backward goes through mean and variance, over the ranks:
//
//   d x = weight / deviation * (d y - sum d y / N - x^ sum (d y x^) / N)    N rows and both sums of all ranks
//
// so N ranks give what one process with all rows gives. Sums are made in float64; a rank's gradients of weight and bias
// are its share, as those of every parameter.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <string>

#include "comm/communicator.h"

namespace muster {

// Parameters weight and bias, buffers running_mean and running_variance, each [width].
class BatchNorm : public torch::nn::Module {
 public:
  explicit BatchNorm(int64_t width);

  // Training passes are collective from now on, one all-reduce in the forward and one in the backward, with or without
  // rows, under this name. Without it this rank's rows are all there are. The communicator must outlive the passes.
  void join(Communicator& communicator, const std::string& name);

  // [n, width] -> [n, width], of the parameters' dtype; n may be 0.
  at::Tensor forward(const at::Tensor& x);

 private:
  Communicator* communicator_ = nullptr;
  std::string name_;
  at::Tensor weight_, bias_, running_mean_, running_variance_;
};

}  // namespace muster
