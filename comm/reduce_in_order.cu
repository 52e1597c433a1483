#include <c10/cuda/CUDAException.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <stdexcept>

#include "comm/reduce_in_order_cuda.h"

namespace muster {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1024;  // each thread then takes several elements

struct Sum {
  template <typename A>
  __device__ A operator()(A a, A b) const {
    return static_cast<A>(a + b);
  }
};
struct Max {
  template <typename A>
  __device__ A operator()(A a, A b) const {
    return a < b ? b : a;
  }
};
struct Min {
  template <typename A>
  __device__ A operator()(A a, A b) const {
    return b < a ? b : a;
  }
};

template <typename T, typename Accumulator, typename Fold>
__global__ void fold_ranks(const T* parts, int ranks, T* target, int64_t count, Fold fold) {
  const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += threads) {
    Accumulator total = static_cast<Accumulator>(parts[i]);
    for (int r = 1; r < ranks; ++r) total = fold(total, static_cast<Accumulator>(parts[r * count + i]));
    target[i] = static_cast<T>(total);
  }
}

template <typename T, typename Accumulator, typename Fold>
void launch(const void* parts, int ranks, void* target, int64_t count, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(std::min((count + kThreads - 1) / kThreads, kMostBlocks));
  fold_ranks<T, Accumulator, Fold>
      <<<blocks, kThreads, 0, stream>>>(static_cast<const T*>(parts), ranks, static_cast<T*>(target), count, Fold());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

template <typename T, typename Accumulator = T>
void reduce_typed(ReduceOp op, const void* parts, int ranks, void* target, int64_t count, cudaStream_t stream) {
  switch (op) {
    case ReduceOp::kSum:
      return launch<T, Accumulator, Sum>(parts, ranks, target, count, stream);
    case ReduceOp::kMax:
      return launch<T, Accumulator, Max>(parts, ranks, target, count, stream);
    case ReduceOp::kMin:
      return launch<T, Accumulator, Min>(parts, ranks, target, count, stream);
  }
}

}  // namespace

void reduce_in_order(c10::ScalarType dtype, ReduceOp op, const void* parts, int ranks, void* target, int64_t count,
                     cudaStream_t stream) {
  if (count == 0) return;
  const auto reduce = [&](auto element, auto accumulator) {
    reduce_typed<decltype(element), decltype(accumulator)>(op, parts, ranks, target, count, stream);
  };
  if (dtype == c10::kDouble) return reduce(double(), double());
  if (dtype == c10::kFloat) return reduce(float(), float());
  if (dtype == c10::kHalf) return reduce(c10::Half(), float());
  if (dtype == c10::kBFloat16) return reduce(c10::BFloat16(), float());
  if (dtype == c10::kLong) return reduce(int64_t(), int64_t());
  if (dtype == c10::kInt) return reduce(int32_t(), int32_t());
  if (dtype == c10::kByte) return reduce(uint8_t(), uint8_t());
  throw std::logic_error("reduce_in_order: the door let a dtype through that no reduction knows");
}

}  // namespace muster
