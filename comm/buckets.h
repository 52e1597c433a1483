// Flat gradient buffers: every parameter's gradient is a view into one of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace muster {

struct Bucket {
  at::Tensor flat;                 // one dtype, one device, 1-d, zeros at first
  std::vector<size_t> parameters;  // indices into the list it was made from
};

struct Buckets {
  std::vector<Bucket> buckets;
  std::vector<at::Tensor> views;  // of each parameter, in its shape
  std::vector<size_t> bucket_of;  // of each parameter
};

// Fills buckets of at most `bucket_bytes` in reverse order of `parameters`; a larger parameter has a bucket of its own,
// and a change of dtype or device begins a new one. Each view starts at a multiple of 64 bytes.
Buckets make_buckets(const std::vector<at::Tensor>& parameters, int64_t bucket_bytes);

}  // namespace muster
