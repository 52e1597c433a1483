// The random boxes of torchvision's RandomResizedCrop and RandomErasing (torchvision/transforms/transforms.py,
// get_params of each).
#pragma once

#include <optional>

#include "dataloader/dataloader.pb.h"
#include "dataloader/random.h"
#include "dataloader/resize.h"

namespace muster {

// Both try ten times: area = width * height * uniform(min_area, max_area), aspect = exp(uniform(log min, log max)), and
// if the box fits, its corner is uniform over the places where it lies inside.

// w = round(sqrt(area * aspect)), h = round(sqrt(area / aspect)), taken if 0 < w <= width and 0 < h <= height. If no
// try fits: the middle of the image, cut to the nearest aspect of the range.
Window draw_crop_box(const ResizedCropConfig& config, int width, int height, KeyedRandom& random);

// h = round(sqrt(area * aspect)), w = round(sqrt(area / aspect)), taken if h < height and w < width; it may be empty.
// None if no try fits.
std::optional<Window> draw_erasing_box(const ErasingConfig& config, int width, int height, KeyedRandom& random);

}  // namespace muster
