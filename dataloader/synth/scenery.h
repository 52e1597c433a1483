// What places are painted with: planes, grain, and things that stand about. Positions are pixels; places take them as
// shares of the picture's width and height, so that a scene looks the same at any size.
#pragma once

#include <array>

#include "dataloader/synth/canvas.h"
#include "dataloader/synth/dice.h"
#include "dataloader/synth/view.h"

namespace muster::synth {

inline Colour grey(float v) {
  return {v, v, v};
}

// Smooth random grain: a small wrapping table, read bilinearly.
class Grain {
 public:
  explicit Grain(Dice& dice) {
    for (float& v : table_) v = dice.uniform(-1, 1);
  }
  float at(float x, float y) const {
    const float fx = std::floor(x), fy = std::floor(y);
    const float tx = x - fx, ty = y - fy;
    const int ix = static_cast<int>(fx), iy = static_cast<int>(fy);
    const float top = cell(ix, iy) + (cell(ix + 1, iy) - cell(ix, iy)) * tx;
    const float bottom = cell(ix, iy + 1) + (cell(ix + 1, iy + 1) - cell(ix, iy + 1)) * tx;
    return top + (bottom - top) * ty;
  }

 private:
  float cell(int x, int y) const { return table_[static_cast<size_t>((y & 15) * 16 + (x & 15))]; }
  std::array<float, 256> table_;
};

class Scenery {
 public:
  Scenery(Canvas& canvas, const View& view);

 protected:
  void box(float left, float top, float right, float bottom, Colour colour, float opacity = 1);
  // A random colour of this brightness, hardly saturated.
  Colour muted(float low, float high, float chroma);
  Colour vivid();
  // Wall above the horizon, ground below it; both map a pixel's centre to a Colour.
  template <class Wall, class Ground>
  void two_planes(const Wall& wall, const Ground& ground);
  float mottle(Vec2 p, float size) const { return grain_.at(p.x / (w_ * size), p.y / (w_ * size)); }
  // Depth of the ground at this row: 0 at the bottom of the picture, growing towards the horizon.
  float ground_depth(float y) const { return (h_ - horizon_) / std::max(y - horizon_, 1.0F) - 1; }

  void windows(float left, float right, float top, float bottom, Colour glass);
  void tree(float x, float base, float size);
  void lamp_post(float x);
  void car(float x, float base);
  void stranger(float x, float base, float size);
  void litter_bin();
  // Slabs in perspective, from the horizon down.
  void paving(Colour base, float lines);

  Canvas& canvas_;
  const View& view_;
  Dice dice_;
  Grain grain_;
  float w_, h_, horizon_;
};

template <class Wall, class Ground>
void Scenery::two_planes(const Wall& wall, const Ground& ground) {
  canvas_.map([&](Vec2 p, Colour) { return p.y < horizon_ ? wall(p) : ground(p); });
}

}  // namespace muster::synth
