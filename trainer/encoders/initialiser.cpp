#include "trainer/encoders/initialiser.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "dataloader/random.h"
#include "trainer/encoders/keyed_fill.h"

namespace muster {
namespace {

template <class Fill>
at::Tensor fill_new(at::IntArrayRef sizes, uint64_t seed, uint64_t stream, const Fill& fill) {
  at::Tensor tensor = at::empty(sizes, at::kFloat);
  float* data = tensor.mutable_data_ptr<float>();
  const int64_t size = tensor.numel();
  const int64_t blocks = (size + kFillBlock - 1) / kFillBlock;
  at::parallel_for(0, blocks, 64, [&](int64_t first, int64_t last) {
    const int64_t begin = first * kFillBlock;
    fill(FillKey{seed, stream, static_cast<uint32_t>(Purpose::kInitialisation), begin}, data + begin,
         std::min(last * kFillBlock, size) - begin);
  });
  return tensor;
}

}  // namespace

at::Tensor Initialiser::normal(at::IntArrayRef sizes, double standard_deviation) {
  return fill_new(sizes, seed_, tensors_++, [&](const FillKey& key, float* out, int64_t size) {
    fill_normal(key, static_cast<float>(standard_deviation), out, size);
  });
}

at::Tensor Initialiser::uniform(at::IntArrayRef sizes, double bound) {
  return fill_new(sizes, seed_, tensors_++, [&](const FillKey& key, float* out, int64_t size) {
    fill_uniform(key, static_cast<float>(bound), out, size);
  });
}

}  // namespace muster
