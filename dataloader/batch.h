// What the loader hands to the trainer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace muster {

// One rank's share of a batch, in stream order. All tensors are on the CPU and contiguous.
struct Batch {
  at::Tensor images;    // [b, 3, H, W] float32, normalised
  at::Tensor tokens;    // [b, L] int64, zero-padded
  at::Tensor identity;  // [b] int64, the store's identity number
  at::Tensor image_id;  // [b] int64, the store's image number
  at::Tensor position;  // [b] int64, position in the global sample stream (key of every random choice)

  int64_t size() const { return position.defined() ? position.size(0) : 0; }
};

// A rank's place in the world, so that the loader need not know communicators.
struct Shard {
  int rank = 0;
  int size = 1;
};

}  // namespace muster
