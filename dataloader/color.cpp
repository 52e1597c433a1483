#include "dataloader/color.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace muster {
namespace {

uint8_t luma(const uint8_t* rgb) {
  return static_cast<uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

// Blend.c: in float, truncated.
uint8_t blend(int from, int to, float factor) {
  const float value = static_cast<float>(from) + factor * static_cast<float>(to - from);
  return static_cast<uint8_t>(std::clamp(value, 0.0F, 255.0F));
}

void blend_with_constant(Image& image, int constant, double factor) {
  std::array<uint8_t, 256> table{};
  for (int value = 0; value < 256; ++value) {
    table[static_cast<size_t>(value)] = blend(constant, value, static_cast<float>(factor));
  }
  for (uint8_t& value : image.pixels) value = table[value];
}

struct Hsv {
  uint8_t hue = 0;
  uint8_t saturation = 0;
  uint8_t value = 0;
};

uint8_t clip(int value) {
  return static_cast<uint8_t>(std::clamp(value, 0, 255));
}

// Convert.c's rgb2hsv_row, with its mixture of float and double.
Hsv to_hsv(const uint8_t* rgb) {
  const uint8_t r = rgb[0], g = rgb[1], b = rgb[2];
  const uint8_t most = std::max({r, g, b}), least = std::min({r, g, b});
  if (most == least) return {0, 0, most};
  const auto range = static_cast<float>(most - least);
  const float saturation = range / static_cast<float>(most);
  const float rc = static_cast<float>(most - r) / range;
  const float gc = static_cast<float>(most - g) / range;
  const float bc = static_cast<float>(most - b) / range;
  float hue = 0;
  if (r == most) {
    hue = bc - gc;
  } else if (g == most) {
    hue = static_cast<float>(2.0 + static_cast<double>(rc) - static_cast<double>(bc));
  } else {
    hue = static_cast<float>(4.0 + static_cast<double>(gc) - static_cast<double>(rc));
  }
  hue = static_cast<float>(std::fmod(static_cast<double>(hue) / 6.0 + 1.0, 1.0));
  return {clip(static_cast<int>(static_cast<double>(hue) * 255.0)),
          clip(static_cast<int>(static_cast<double>(saturation) * 255.0)), most};
}

// Convert.c's hsv2rgb.
void from_hsv(const Hsv& hsv, uint8_t* rgb) {
  if (hsv.saturation == 0) {
    std::fill_n(rgb, 3, hsv.value);
    return;
  }
  const double sixths = static_cast<double>(static_cast<float>(hsv.hue)) * 6.0 / 255.0;
  const int sector = static_cast<int>(std::floor(sixths));
  const auto f = static_cast<double>(static_cast<float>(sixths - static_cast<double>(static_cast<float>(sector))));
  const auto s =
      static_cast<double>(static_cast<float>(static_cast<double>(static_cast<float>(hsv.saturation)) / 255.0));
  const double value = hsv.value;
  const uint8_t v = hsv.value;
  const uint8_t p = clip(static_cast<int>(std::round(value * (1.0 - s))));
  const uint8_t q = clip(static_cast<int>(std::round(value * (1.0 - s * f))));
  const uint8_t t = clip(static_cast<int>(std::round(value * (1.0 - s * (1.0 - f)))));
  const std::array<std::array<uint8_t, 3>, 6> sectors = {
      {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}}};
  std::copy_n(sectors[static_cast<size_t>(sector % 6)].begin(), 3, rgb);
}

}  // namespace

void adjust_brightness(Image& image, double factor) {
  blend_with_constant(image, 0, factor);
}

void adjust_contrast(Image& image, double factor) {
  double sum = 0;
  for (size_t i = 0; i < image.pixels.size(); i += 3) sum += luma(&image.pixels[i]);
  const int mean = static_cast<int>(sum / (static_cast<double>(image.pixels.size()) / 3) + 0.5);
  blend_with_constant(image, mean, factor);
}

void adjust_saturation(Image& image, double factor) {
  const auto alpha = static_cast<float>(factor);
  for (size_t i = 0; i < image.pixels.size(); i += 3) {
    uint8_t* rgb = &image.pixels[i];
    const int grey = luma(rgb);
    for (int channel = 0; channel < 3; ++channel) rgb[channel] = blend(grey, rgb[channel], alpha);
  }
}

void adjust_hue(Image& image, double turn) {
  const auto shift = static_cast<uint8_t>(static_cast<int>(turn * 255));
  for (size_t i = 0; i < image.pixels.size(); i += 3) {
    Hsv hsv = to_hsv(&image.pixels[i]);
    hsv.hue = static_cast<uint8_t>(hsv.hue + shift);
    from_hsv(hsv, &image.pixels[i]);
  }
}

void make_grey(Image& image) {
  for (size_t i = 0; i < image.pixels.size(); i += 3) std::fill_n(&image.pixels[i], 3, luma(&image.pixels[i]));
}

}  // namespace muster
