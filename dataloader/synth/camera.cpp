#include "dataloader/synth/camera.h"

namespace muster::synth {
namespace {

// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): noise needs a number for each pixel, and no more than speed of it.
uint64_t scramble(uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

uint8_t to_byte(float v) {
  return static_cast<uint8_t>(std::clamp(v * 255.0F + 0.5F, 0.0F, 255.0F));
}

}  // namespace

Image expose(Canvas& canvas, const View& view) {
  const float w = static_cast<float>(canvas.width());
  const Colour gain = view.cast * view.brightness;
  canvas.map([&](Vec2 p, Colour c) {
    const float slope = 1 + 0.13F * view.light_x * (2 * p.x / w - 1);
    const auto graded = [&](float v, float g) {
      return (((v * g * slope) - 0.45F) * view.contrast + 0.45F) * (1 - view.haze) + view.haze * 0.85F;
    };
    return Colour{graded(c.r, gain.r), graded(c.g, gain.g), graded(c.b, gain.b)};
  });
  canvas.blur(view.blur);

  Image image;
  image.width = canvas.width();
  image.height = canvas.height();
  image.pixels.resize(static_cast<size_t>(image.width) * static_cast<size_t>(image.height) * 3);
  uint8_t* out = image.pixels.data();
  uint64_t index = view.scene;
  // Two bytes make a triangular distribution; its standard deviation is 104 of 255.
  const float strength = view.noise / 104.0F;
  for (int y = 0; y < image.height; ++y) {
    const Colour* row = canvas.row(y);
    for (int x = 0; x < image.width; ++x) {
      const uint64_t bits = scramble(index++);
      const auto noise = [&](int shift) {
        return strength *
               (static_cast<float>((bits >> shift) & 255) + static_cast<float>((bits >> (shift + 8)) & 255) - 255.0F);
      };
      const float grey_noise = noise(0) * 0.7F;
      *out++ = to_byte(row[x].r + grey_noise + noise(16) * 0.6F);
      *out++ = to_byte(row[x].g + grey_noise + noise(32) * 0.4F);
      *out++ = to_byte(row[x].b + grey_noise + noise(48) * 0.7F);
    }
  }
  return image;
}

}  // namespace muster::synth
