// What the loader hands to the trainer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace muster {

// One rank's share of a batch, in stream order. All tensors are on the CPU and contiguous.
struct Batch {
  at::Tensor images;    // [b, 3, H, W] float32, normalised; undefined where regions are read
  at::Tensor tokens;    // [b, L] int64, zero-padded
  at::Tensor identity;  // [b] int64, the store's identity number (of several stores: training_stores.h)
  at::Tensor image_id;  // [b] int64, the store's image number (likewise)
  at::Tensor position;  // [b] int64, position in the global sample stream (key of every random choice)

  // Where InputSize has a region_width, else undefined; an image's regions are rows next to each other.
  at::Tensor regions{};        // [sum of counts, D] float16
  at::Tensor boxes{};          // [sum of counts, 5] float32: x1/W, y1/H, x2/W, y2/H and the area of these
  at::Tensor region_counts{};  // [b] int64

  int64_t size() const { return position.defined() ? position.size(0) : 0; }
};

// A rank's place in the world, so that the loader need not know communicators.
struct Shard {
  int rank = 0;
  int size = 1;
};

// What of `total` rows in a line belongs to a shard: as even as can be, the first total % size shards have one more.
// The same rule as split_rows() of comm/communicator.h.
struct Slice {
  int64_t first = 0;
  int64_t count = 0;
};
inline Slice slice_of(int64_t total, const Shard& shard) {
  const int64_t each = total / shard.size;
  const int64_t longer = total % shard.size;
  const int64_t longer_before = shard.rank < longer ? shard.rank : longer;
  return {each * shard.rank + longer_before, each + (shard.rank < longer ? 1 : 0)};
}

// The shape of what the model takes.
struct InputSize {
  int width = 0;  // pixels
  int height = 0;
  int64_t context = 0;  // tokens
  // Above 0: the model takes regions of so many numbers in place of pixels; width and height do not count.
  int64_t region_width = 0;
};

}  // namespace muster
