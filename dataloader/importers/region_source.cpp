#include "dataloader/importers/region_source.h"

#include <c10/util/Half.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "dataloader/store_manifest.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr float kOutside = 0.5F;  // of a pixel

uint16_t to_half(float value, int64_t region, int64_t place) {
  if (!std::isfinite(value)) {
    throw DataError(fmt::format("number {} of region {} is {}; extract the image again", place, region, value));
  }
  const c10::Half half(value);
  if (!std::isfinite(static_cast<float>(half))) {
    throw DataError(
        fmt::format("number {} of region {} is {}, beyond float16 (65504); scale the features", place, region, value));
  }
  return half.x;
}

void take_box(const float* box, int64_t region, const RawRegions& raw, std::vector<float>& boxes) {
  const auto width = static_cast<float>(raw.width), height = static_cast<float>(raw.height);
  const float x1 = box[0], y1 = box[1], x2 = box[2], y2 = box[3];
  const auto refuse = [&](const char* what) {
    throw DataError(
        fmt::format("the box of region {} ({}, {}, {}, {}) {} of {} x {}; give x1, y1, x2, y2 in that image's pixels",
                    region, x1, y1, x2, y2, what, raw.width, raw.height));
  };
  for (int i = 0; i < 4; ++i) {
    if (!std::isfinite(box[i])) refuse("is not finite, in an image");
  }
  if (x1 > x2 || y1 > y2) refuse("is turned round, in an image");
  if (x1 < -kOutside || y1 < -kOutside || x2 > width + kOutside || y2 > height + kOutside) {
    refuse("lies outside its image");
  }
  for (int i = 0; i < 4; ++i) boxes.push_back(std::clamp(box[i], 0.0F, i % 2 == 0 ? width : height));
}

}  // namespace

void RegionSource::set_rules(int64_t width, int64_t count) {
  if (width < 1 || width > kMostRegionWidth) {
    throw DataError(fmt::format("features of {} numbers; a store takes 1 to {}", width, kMostRegionWidth));
  }
  rules_.width = width;
  if (count > 0) rules_.least = rules_.most = count;
}

ImageRegions check_regions(const RawRegions& raw, const RegionRules& rules) {
  if (raw.count < rules.least || raw.count > rules.most) {
    throw DataError(rules.least == rules.most
                        ? fmt::format("has {} regions, not {}; --regions asks for that", raw.count, rules.least)
                        : fmt::format("has {} regions, not {} to {}; leave it out or import with --skip-bad", raw.count,
                                      rules.least, rules.most));
  }
  if (static_cast<int64_t>(raw.features.size()) != raw.count * rules.width) {
    throw DataError(fmt::format("has {} numbers for {} regions, not {} each as the images before; extract it as them",
                                raw.features.size(), raw.count, rules.width));
  }
  if (raw.width <= 0 || raw.height <= 0) {
    throw DataError("its size in pixels is not known; give it with --sizes or the pictures with --images");
  }
  if (!raw.boxes.empty() && static_cast<int64_t>(raw.boxes.size()) != 4 * raw.count) {
    throw DataError(fmt::format("has {} numbers of boxes for {} regions", raw.boxes.size(), raw.count));
  }
  ImageRegions regions;
  regions.features.reserve(raw.features.size());
  for (size_t i = 0; i < raw.features.size(); ++i) {
    const auto place = static_cast<int64_t>(i);
    regions.features.push_back(to_half(raw.features[i], place / rules.width, place % rules.width));
  }
  const float whole[4] = {0, 0, static_cast<float>(raw.width), static_cast<float>(raw.height)};
  for (int64_t r = 0; r < raw.count; ++r)
    take_box(raw.boxes.empty() ? whole : raw.boxes.data() + 4 * r, r, raw, regions.boxes);
  return regions;
}

}  // namespace muster
