#include "comm/rank_order_reduce.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <stdexcept>

namespace muster {
namespace {

// A block stays in the first-level cache while the ranks' parts are folded into it.
constexpr int64_t kBlock = 2048;

template <typename T, typename Accumulator, typename Fold>
void reduce_blocks(const std::vector<const void*>& sources, void* target, int64_t count, Fold fold) {
  Accumulator block[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t length = std::min(kBlock, count - begin);
    const T* first = static_cast<const T*>(sources[0]) + begin;
    for (int64_t i = 0; i < length; ++i) block[i] = static_cast<Accumulator>(first[i]);
    for (size_t s = 1; s < sources.size(); ++s) {
      const T* source = static_cast<const T*>(sources[s]) + begin;
      for (int64_t i = 0; i < length; ++i) block[i] = fold(block[i], static_cast<Accumulator>(source[i]));
    }
    T* out = static_cast<T*>(target) + begin;
    for (int64_t i = 0; i < length; ++i) out[i] = static_cast<T>(block[i]);
  }
}

template <typename T, typename Accumulator = T>
void reduce_typed(ReduceOp op, const std::vector<const void*>& sources, void* target, int64_t count) {
  using A = Accumulator;
  switch (op) {
    case ReduceOp::kSum:
      return reduce_blocks<T, A>(sources, target, count, [](A a, A b) { return static_cast<A>(a + b); });
    case ReduceOp::kMax:
      return reduce_blocks<T, A>(sources, target, count, [](A a, A b) { return a < b ? b : a; });
    case ReduceOp::kMin:
      return reduce_blocks<T, A>(sources, target, count, [](A a, A b) { return b < a ? b : a; });
  }
}

}  // namespace

void reduce_in_order(at::ScalarType dtype, ReduceOp op, const std::vector<const void*>& sources, void* target,
                     int64_t count) {
  if (dtype == at::kDouble) return reduce_typed<double>(op, sources, target, count);
  if (dtype == at::kFloat) return reduce_typed<float>(op, sources, target, count);
  if (dtype == at::kHalf) return reduce_typed<c10::Half, float>(op, sources, target, count);
  if (dtype == at::kBFloat16) return reduce_typed<c10::BFloat16, float>(op, sources, target, count);
  if (dtype == at::kLong) return reduce_typed<int64_t>(op, sources, target, count);
  if (dtype == at::kInt) return reduce_typed<int32_t>(op, sources, target, count);
  if (dtype == at::kByte) return reduce_typed<uint8_t>(op, sources, target, count);
  throw std::logic_error("reduce_in_order: the door let a dtype through that no reduction knows");
}

}  // namespace muster
