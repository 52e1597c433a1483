#include "dataloader/random_box.h"

#include <cmath>

namespace muster {
namespace {

constexpr int kTries = 10;

struct Sides {
  double with_aspect = 0;     // sqrt(area * aspect)
  double against_aspect = 0;  // sqrt(area / aspect)
};

// As Python's round(): halves to even.
double round_to_even(double value) {
  return std::nearbyint(value);
}

template <typename Config>
Sides draw_sides(const Config& config, int width, int height, KeyedRandom& random) {
  const double share = config.min_area() + random.next_double() * (config.max_area() - config.min_area());
  const double area = static_cast<double>(width) * height * share;
  const double low = std::log(config.min_aspect()), high = std::log(config.max_aspect());
  const double aspect = std::exp(low + random.next_double() * (high - low));
  return {round_to_even(std::sqrt(area * aspect)), round_to_even(std::sqrt(area / aspect))};
}

int draw_offset(int outer, int inner, KeyedRandom& random) {
  return static_cast<int>(random.next_below(static_cast<uint64_t>(outer - inner + 1)));
}

Window draw_place(int width, int height, int box_width, int box_height, KeyedRandom& random) {
  const int y = draw_offset(height, box_height, random);
  const int x = draw_offset(width, box_width, random);
  return {x, y, box_width, box_height};
}

Window middle(const ResizedCropConfig& config, int width, int height) {
  const double aspect = static_cast<double>(width) / height;
  Window box{0, 0, width, height};
  if (aspect < config.min_aspect()) box.height = static_cast<int>(round_to_even(width / config.min_aspect()));
  if (aspect > config.max_aspect()) box.width = static_cast<int>(round_to_even(height * config.max_aspect()));
  box.width = box.width < 1 ? 1 : box.width;  // torchvision fails where these would be 0
  box.height = box.height < 1 ? 1 : box.height;
  box.x = (width - box.width) / 2;
  box.y = (height - box.height) / 2;
  return box;
}

}  // namespace

Window draw_crop_box(const ResizedCropConfig& config, int width, int height, KeyedRandom& random) {
  for (int i = 0; i < kTries; ++i) {
    const Sides sides = draw_sides(config, width, height, random);
    const double w = sides.with_aspect, h = sides.against_aspect;
    if (w > 0 && w <= width && h > 0 && h <= height) {
      return draw_place(width, height, static_cast<int>(w), static_cast<int>(h), random);
    }
  }
  return middle(config, width, height);
}

std::optional<Window> draw_erasing_box(const ErasingConfig& config, int width, int height, KeyedRandom& random) {
  for (int i = 0; i < kTries; ++i) {
    const Sides sides = draw_sides(config, width, height, random);
    const double h = sides.with_aspect, w = sides.against_aspect;
    if (h < height && w < width) {
      return draw_place(width, height, static_cast<int>(w), static_cast<int>(h), random);
    }
  }
  return std::nullopt;
}

}  // namespace muster
