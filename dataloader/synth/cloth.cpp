#include "dataloader/synth/cloth.h"

namespace muster::synth {
namespace {

// Share of the second colour in stripes of this period, of which `duty` is second.
float stripes(float x, float period, float duty, float pixel) {
  const float t = x / period;
  const float in_period = (t - std::floor(t)) * period;
  const float width = std::min(pixel, 0.45F * period);
  return band(in_period, 0.5F * (1 - duty) * period, 0.5F * (1 + duty) * period, width);
}

}  // namespace

Colour fabric_at(const Fabric& fabric, float across, float up, float pixel) {
  switch (fabric.pattern) {
    case Pattern::kPlain:
    case Pattern::kLogo:  // the trunk draws the logo
      return fabric.base;
    case Pattern::kStriped:
      return mix(fabric.base, fabric.second, stripes(fabric.vertical ? across : up, 0.046F, 0.46F, pixel));
    case Pattern::kChecked: {
      const float a = stripes(across, 0.056F, 0.45F, pixel), b = stripes(up, 0.056F, 0.45F, pixel);
      return mix(fabric.base, fabric.second, 0.5F * (a + b));
    }
    case Pattern::kTwoTone:
      return mix(fabric.base, fabric.second, step_at(up, 0.7F, pixel));
    case Pattern::kDotted: {
      const float size = 0.05F;
      const float row = std::floor(up / size);
      const float shifted = across / size + 0.5F * (row - 2 * std::floor(row / 2));
      const float dx = (shifted - std::floor(shifted) - 0.5F) * size, dy = up - (row + 0.5F) * size;
      return mix(fabric.second, fabric.base, step_at(std::sqrt(dx * dx + dy * dy), 0.0145F, pixel));
    }
  }
  return fabric.base;
}

float folds(float across, float up) {
  return 1 + 0.045F * std::sin(38 * up + 21 * across) + 0.035F * std::sin(57 * across - 13 * up + 1);
}

}  // namespace muster::synth
