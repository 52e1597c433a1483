// Tensors as the bytes that travel.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <numeric>

namespace muster {

// Of one row, dimension 0 being the rows, of which there may be none.
inline int64_t row_bytes_of(const at::Tensor& tensor) {
  const auto sizes = tensor.sizes().slice(1);
  return static_cast<int64_t>(tensor.element_size()) *
         std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<int64_t>());
}

inline char* bytes_at(const at::Tensor& tensor, int64_t offset) {
  return static_cast<char*>(tensor.data_ptr()) + offset;
}

}  // namespace muster
