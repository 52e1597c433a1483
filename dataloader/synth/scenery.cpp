#include "dataloader/synth/scenery.h"

namespace muster::synth {

Scenery::Scenery(Canvas& canvas, const View& view)
    : canvas_(canvas),
      view_(view),
      dice_(view.scene, 0, Stream::kScene),
      grain_(dice_),
      w_(static_cast<float>(canvas.width())),
      h_(static_cast<float>(canvas.height())),
      horizon_(view.horizon * h_) {}

void Scenery::box(float left, float top, float right, float bottom, Colour colour, float opacity) {
  Path path;
  path.rectangle(left, top, right, bottom);
  canvas_.fill(path, colour, opacity);
}

Colour Scenery::muted(float low, float high, float chroma) {
  const float v = dice_.uniform(low, high);
  return {v + dice_.uniform(-chroma, chroma), v + dice_.uniform(-chroma, chroma) * 0.5F,
          v + dice_.uniform(-chroma, chroma)};
}

Colour Scenery::vivid() {
  return shade_of(static_cast<Dye>(dice_.below(kDyes)));
}

void Scenery::windows(float left, float right, float top, float bottom, Colour glass) {
  const int columns = 1 + dice_.below(3), rows = 1 + dice_.below(3);
  const float dx = (right - left) / static_cast<float>(columns), dy = (bottom - top) / static_cast<float>(rows);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      const float x = left + dx * static_cast<float>(c), y = top + dy * static_cast<float>(r);
      box(x + dx * 0.22F, y + dy * 0.2F, x + dx * 0.78F, y + dy * 0.8F, glass * dice_.uniform(0.75F, 1.15F));
    }
  }
}

void Scenery::tree(float x, float base, float size) {
  Path trunk, crown;
  trunk.capsule({x, base}, size * 0.07F, {x, base - size * 0.6F}, size * 0.05F);
  canvas_.fill(trunk, {0.29F, 0.22F, 0.16F});
  for (int i = 0; i < 6; ++i) {
    crown.ellipse({x + dice_.uniform(-0.35F, 0.35F) * size, base - size * dice_.uniform(0.65F, 1.15F)},
                  size * dice_.uniform(0.18F, 0.32F), size * dice_.uniform(0.18F, 0.3F));
  }
  const Colour leaf{dice_.uniform(0.16F, 0.36F), dice_.uniform(0.34F, 0.48F), dice_.uniform(0.12F, 0.22F)};
  canvas_.fill(crown, [&](Vec2 p) { return leaf * (1 + 0.3F * mottle(p, 0.06F)); });
}

void Scenery::lamp_post(float x) {
  const float base = horizon_ + h_ * 0.08F;
  box(x - w_ * 0.012F, 0, x + w_ * 0.012F, base, grey(0.24F));
  box(x - w_ * 0.025F, base - h_ * 0.05F, x + w_ * 0.025F, base, grey(0.2F));
}

void Scenery::car(float x, float base) {
  const Colour paint = vivid();
  const float l = w_ * 0.42F, t = h_ * 0.1F;
  Path cabin, body, wheels;
  cabin.smooth({{x - l * 0.6F, base - t},
                {x - l * 0.35F, base - t * 1.75F},
                {x + l * 0.3F, base - t * 1.75F},
                {x + l * 0.62F, base - t}},
               1);
  body.box({x, base - t * 0.7F}, l, t * 0.5F, 0, 0.6F);
  for (const float side : {-0.6F, 0.6F}) wheels.ellipse({x + side * l, base - t * 0.22F}, t * 0.3F, t * 0.3F);
  canvas_.fill(cabin, {0.25F, 0.3F, 0.35F});
  canvas_.fill(body, paint * 0.9F);
  canvas_.fill(wheels, grey(0.08F));
}

void Scenery::stranger(float x, float base, float size) {
  Path legs, trunk, head;
  const Colour top = vivid() * 0.85F, bottom = muted(0.12F, 0.3F, 0.03F);
  legs.capsule({x - size * 0.05F, base - size * 0.5F}, size * 0.06F, {x - size * 0.08F, base}, size * 0.03F);
  legs.capsule({x + size * 0.05F, base - size * 0.5F}, size * 0.06F, {x + size * 0.08F, base}, size * 0.03F);
  trunk.capsule({x, base - size * 0.78F}, size * 0.11F, {x, base - size * 0.5F}, size * 0.1F);
  head.ellipse({x, base - size * 0.93F}, size * 0.05F, size * 0.065F);
  canvas_.fill(legs, bottom);
  canvas_.fill(trunk, top);
  canvas_.fill(head, mix(skin_shade(dice_.uniform(0, 1)), grey(0.15F), dice_.uniform(0.2F, 0.8F)));
}

void Scenery::paving(Colour base, float lines) {
  const float tiles = dice_.uniform(3, 7), offset = dice_.uniform(0, 1);
  for (int y = static_cast<int>(horizon_); y < canvas_.height(); ++y) {
    Colour* row = canvas_.row(y);
    const float depth = ground_depth(static_cast<float>(y) + 0.5F), spread = 1 + depth;
    const float v = depth * tiles * 0.55F + offset;
    const float across = v - std::floor(v) < 0.09F * (1 + depth) ? 1 - lines : 1.0F;
    for (int x = 0; x < canvas_.width(); ++x) {
      const float u = ((static_cast<float>(x) + 0.5F) / w_ - 0.5F) * spread * tiles + 50;
      const float along = u - std::floor(u) < 0.07F * spread ? 1 - lines : 1.0F;
      const float fade = 0.82F + 0.18F / (1 + depth);
      const float tone = 1 + 0.07F * mottle({static_cast<float>(x), static_cast<float>(y) * 2}, 0.08F);
      row[x] = base * (std::min(across, along) * fade * tone);
    }
  }
}

void Scenery::litter_bin() {
  const float x = (dice_.chance(0.5F) ? dice_.uniform(0.03F, 0.18F) : dice_.uniform(0.82F, 0.97F)) * w_;
  const float base = horizon_ + (h_ - horizon_) * 0.35F;
  Path bin;
  bin.box({x, base - h_ * 0.07F}, w_ * 0.08F, h_ * 0.075F, 0, 0.25F);
  canvas_.fill(bin, muted(0.15F, 0.4F, 0.08F));
}

}  // namespace muster::synth
