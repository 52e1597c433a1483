#include "dataloader/region_batch.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "launch/error.h"

namespace muster {

void check_readable(const Store& store, int64_t width) {
  for (int64_t image = 0; width == 0 && store.has_regions() && image < store.images(); ++image) {
    if (store.image_size(image) > 0) continue;
    throw ConfigError(
        fmt::format("{}: image {} ({}) has regions and no picture, and the model takes pictures; give a model with "
                    "model.regions, or import the set with its pictures",
                    store.path(), image, store.source_path(image)));
  }
  if (width == 0) return;
  if (!store.has_regions()) {
    throw ConfigError(
        fmt::format("{} has no regions, and the model takes regions of {} numbers; give a store made by "
                    "muster import regions or muster synth --regions",
                    store.path(), width));
  }
  if (store.region_width() != width) {
    throw ConfigError(fmt::format("{} has regions of {} numbers, and the model takes {}; change the model or the store",
                                  store.path(), store.region_width(), width));
  }
}

RegionTensors allocate_regions(const std::vector<int64_t>& counts, int64_t width) {
  const int64_t rows = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  RegionTensors tensors{at::empty({rows, width}, at::kHalf), at::empty({rows, 5}, at::kFloat),
                        at::empty({static_cast<int64_t>(counts.size())}, at::kLong)};
  std::copy(counts.begin(), counts.end(), tensors.region_counts.mutable_data_ptr<int64_t>());
  return tensors;
}

void read_region_rows(const Store& store, int64_t image, int64_t first_row, const RegionTensors& to) {
  const int64_t count = store.region_count(image);
  auto* features = static_cast<uint16_t*>(to.regions.mutable_data_ptr()) + first_row * store.region_width();
  std::vector<float> pixels(static_cast<size_t>(count) * 4);
  store.read_regions(image, features, pixels.data());
  const auto width = static_cast<float>(store.width(image)), height = static_cast<float>(store.height(image));
  float* box = to.boxes.mutable_data_ptr<float>() + first_row * 5;
  for (int64_t r = 0; r < count; ++r, box += 5) {
    const float* corner = pixels.data() + r * 4;
    for (int i = 0; i < 4; ++i) box[i] = corner[i] / (i % 2 == 0 ? width : height);
    box[4] = (box[2] - box[0]) * (box[3] - box[1]);
  }
}

}  // namespace muster
