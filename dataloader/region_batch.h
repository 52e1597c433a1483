// Regions of images from a store into tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "dataloader/store.h"

namespace muster {

// Regions of several images, as in Batch.
struct RegionTensors {
  at::Tensor regions, boxes, region_counts;
};

// Whether a model that takes regions of `width` numbers, or pictures (0), can read this store. ConfigError: it has no
// regions, or of another width; it has regions and an image without a picture.
void check_readable(const Store& store, int64_t width);

// Tensors for images with so many regions each, contents undefined.
RegionTensors allocate_regions(const std::vector<int64_t>& counts, int64_t width);

// Reads the regions of one image into rows [first_row, first_row + its count). Any number of threads, each its own
// rows. DataError: damaged.
void read_region_rows(const Store& store, int64_t image, int64_t first_row, const RegionTensors& to);

}  // namespace muster
