// Dropout whose masks are pure functions of (seed, position in the sample stream, layer, element within the sample).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace muster {

// What one forward drops. Inactive unless training with a rate above zero.
struct DropoutKey {
  double rate = 0;
  uint64_t seed = 0;
  at::Tensor positions;  // [b] int64 on the CPU: of the rows' samples in the global stream

  bool active() const { return rate > 0 && positions.defined(); }
};

// x + dropout(branch); both [b, ...]. `layer` differs between the places of a model. at::dropout is never used: its
// generator is the process's, so its masks would depend on ranks, threads and chunks.
at::Tensor add_with_dropout(const at::Tensor& x, const at::Tensor& branch, const DropoutKey& key, uint32_t layer);

}  // namespace muster
