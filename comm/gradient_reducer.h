// Sums parameter gradients over ranks in buckets, while the backward pass is still running.
//
// Gradients are views into flat buckets: nothing is copied. Buckets are filled in reverse order of `parameters` (the
// order in which backward finishes them), one dtype a bucket, and launched strictly in bucket order on every rank.
// The result is the SUM over ranks, never a mean: the losses already carry the mean over the global batch.
//
// One step:   zero(); backward of all chunks but the last; arm(); backward of the last chunk; mark_ready(p) for each
//             parameter that autograd does not reach; finish().
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"

namespace muster {

class GradientReducer {
 public:
  // Leaf tensors that require grad, named for errors; both must outlive the reducer. Sets each parameter's grad() to a
  // view of a bucket and registers a post-accumulate hook on it; the destructor removes hooks and gradients.
  GradientReducer(std::vector<std::pair<std::string, at::Tensor>> parameters, Communicator& communicator,
                  int64_t bucket_bytes);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // Sets every gradient to zero. Call it instead of zero_grad(), which would drop the views.
  void zero();

  // From here until finish() a parameter is ready when its hook fires, and full buckets are launched.
  void arm();

  // The gradient of this parameter is final on this rank (logit scale; a parameter no row of this rank uses).
  void mark_ready(const at::Tensor& parameter);

  // Launches what is left (parameters never marked count as ready with the gradient they have) and waits for all.
  // Throws std::logic_error if a parameter's grad() is no longer its view.
  void finish();

  // Seconds this rank spent waiting in the last finish().
  double exposed_seconds() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace muster
