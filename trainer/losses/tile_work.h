// What the engines on the CPU share: work over rows in parallel, and products into a place.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include <cstdint>

namespace muster {

// work(begin, end) for pieces of [0, count), of `grain` or more where there are several.
template <typename Work>
void in_parallel(int64_t count, int64_t grain, const Work& work) {
  if (count == 0) return;
  at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) { work(begin, end); });
}

// to (+)= a b, without a temporary.
inline void product(const at::Tensor& to, const at::Tensor& a, const at::Tensor& b, bool accumulate) {
  at::Tensor out = to;
  if (accumulate) {
    at::addmm_out(out, out, a, b);
  } else {
    at::mm_out(out, a, b);
  }
}

}  // namespace muster
