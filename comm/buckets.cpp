#include "comm/buckets.h"

#include <ATen/ops/zeros.h>

namespace muster {
namespace {

constexpr int64_t kAlignBytes = 64;

int64_t aligned_bytes(const at::Tensor& tensor) {
  return (static_cast<int64_t>(tensor.nbytes()) + kAlignBytes - 1) / kAlignBytes * kAlignBytes;
}

bool same_kind(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.device() == b.device();
}

void allocate(Bucket& bucket, int64_t bytes, const std::vector<at::Tensor>& parameters,
              std::vector<at::Tensor>& views) {
  const at::Tensor& first = parameters[bucket.parameters.front()];
  const auto element_bytes = static_cast<int64_t>(first.element_size());
  bucket.flat = at::zeros({bytes / element_bytes}, first.options().requires_grad(false));
  int64_t offset = 0;
  for (const size_t p : bucket.parameters) {
    views[p] = bucket.flat.narrow(0, offset, parameters[p].numel()).view(parameters[p].sizes());
    offset += aligned_bytes(parameters[p]) / element_bytes;
  }
}

}  // namespace

Buckets make_buckets(const std::vector<at::Tensor>& parameters, int64_t bucket_bytes) {
  Buckets result;
  result.views.resize(parameters.size());
  result.bucket_of.resize(parameters.size());
  int64_t filled = 0;
  for (size_t p = parameters.size(); p-- > 0;) {
    const int64_t bytes = aligned_bytes(parameters[p]);
    const bool fits = !result.buckets.empty() && filled + bytes <= bucket_bytes &&
                      same_kind(parameters[p], parameters[result.buckets.back().parameters.front()]);
    if (!fits) {
      if (!result.buckets.empty()) allocate(result.buckets.back(), filled, parameters, result.views);
      result.buckets.emplace_back();
      filled = 0;
    }
    result.buckets.back().parameters.push_back(p);
    result.bucket_of[p] = result.buckets.size() - 1;
    filled += bytes;
  }
  if (!result.buckets.empty()) allocate(result.buckets.back(), filled, parameters, result.views);
  return result;
}

}  // namespace muster
