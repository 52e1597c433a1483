// What surfaces look like: fabrics with patterns, and the shading of round bodies.
#pragma once

#include "dataloader/synth/person.h"

namespace muster::synth {

// 0 left of the edge, 1 right of it, a ramp of `width` between: the anti-aliasing of textures.
inline float step_at(float x, float edge, float width) {
  return std::clamp((x - edge) / width + 0.5F, 0.0F, 1.0F);
}
// 1 within [low, high].
inline float band(float x, float low, float high, float width) {
  return step_at(x, low, width) * (1 - step_at(x, high, width));
}

// Brightness of a round limb or trunk at u in [-1, 1] across it, lit from light_x.
inline float round_shade(float u, float light_x) {
  return 1.02F + 0.17F * light_x * u - 0.2F * u * u - 0.08F * u * u * u * u;
}

struct Fabric {
  Pattern pattern = Pattern::kPlain;
  Colour base, second;
  bool vertical = false;  // stripes run up and down (skirts and shirts)
};

// The fabric at `across` and `up`, both in body heights, seen with pixels of size `pixel`.
Colour fabric_at(const Fabric& fabric, float across, float up, float pixel);

// Light and dark of folds, about 1.
float folds(float across, float up);

}  // namespace muster::synth
