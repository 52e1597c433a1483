#include "dataloader/synth/scene.h"

#include "dataloader/synth/scenery.h"

namespace muster::synth {
namespace {

class Places : Scenery {
 public:
  using Scenery::Scenery;
  void draw();

 private:
  void street();
  void brick_wall();
  void plain_wall();
  void park();
  void shop_front();
  void indoors();
  void crossing();
  void station();
};

void Places::street() {
  const Colour facade = muted(0.4F, 0.75F, 0.08F), second = muted(0.3F, 0.7F, 0.08F),
               road = muted(0.36F, 0.55F, 0.015F);
  const float split = dice_.uniform(0.25F, 0.75F) * w_;
  two_planes([&](Vec2 p) { return (p.x < split ? facade : second) * (1 + 0.05F * mottle(p, 0.15F)); },
             [&](Vec2 p) { return road * (1 + 0.08F * mottle(p, 0.05F)); });
  const Colour glass{0.3F, 0.36F, 0.42F};
  windows(0, split, 0, horizon_ * 0.9F, glass);
  windows(split, w_, 0, horizon_ * 0.9F, glass);
  const float kerb = horizon_ + h_ * dice_.uniform(0.04F, 0.12F);
  box(0, horizon_, w_, kerb, muted(0.55F, 0.7F, 0.02F));
  box(0, kerb, w_, kerb + h_ * 0.012F, grey(0.3F));
  if (dice_.chance(0.45F)) car(dice_.uniform(-0.1F, 1.1F) * w_, kerb + h_ * 0.05F);
  if (dice_.chance(0.4F)) lamp_post(dice_.uniform(0, 1) * w_);
  if (dice_.chance(0.35F))
    stranger((dice_.chance(0.5F) ? dice_.uniform(0.02F, 0.25F) : dice_.uniform(0.75F, 0.98F)) * w_, kerb, h_ * 0.35F);
  if (dice_.chance(0.4F)) {
    Path line;
    const float x = dice_.uniform(0.1F, 0.9F) * w_;
    line.polygon({{x, h_}, {x + w_ * 0.08F, h_}, {w_ * 0.5F + 2, kerb + h_ * 0.1F}, {w_ * 0.5F, kerb + h_ * 0.1F}});
    canvas_.fill(line, grey(0.85F), 0.8F);
  }
}

void Places::brick_wall() {
  const Colour brick =
      dice_.chance(0.6F) ? Colour{dice_.uniform(0.48F, 0.66F), 0.3F, 0.24F} : muted(0.5F, 0.72F, 0.06F);
  const Colour mortar = mix(brick, grey(0.72F), 0.6F);
  const float bw = w_ * dice_.uniform(0.15F, 0.22F), bh = bw * 0.4F;
  two_planes(
      [&](Vec2 p) {
        const float row = std::floor(p.y / bh);
        const float x = p.x / bw + 0.5F * (row - 2 * std::floor(row / 2));
        const float fx = x - std::floor(x), fy = p.y / bh - row;
        const float tone = 1 + 0.2F * grain_.at(std::floor(x) * 3.0F, row * 5.0F) + 0.05F * mottle(p, 0.04F);
        return (fx < 0.09F || fy < 0.18F) ? mortar : brick * tone;
      },
      [](Vec2) { return Colour{}; });
  paving(muted(0.45F, 0.68F, 0.03F), 0.2F);
  if (dice_.chance(0.4F)) {
    const float x = dice_.uniform(-0.05F, 0.75F) * w_, y = dice_.uniform(0.05F, 0.4F) * horizon_;
    const Colour paper = vivid();
    box(x, y, x + w_ * 0.3F, y + h_ * 0.17F, mix(paper, grey(0.9F), 0.3F));
    box(x + w_ * 0.04F, y + h_ * 0.03F, x + w_ * 0.26F, y + h_ * 0.07F, paper * 0.6F);
  }
  if (dice_.chance(0.35F)) {
    const float x = dice_.uniform(0.0F, 0.8F) * w_;
    box(x, horizon_ * 0.25F, x + w_ * 0.26F, horizon_, vivid() * 0.6F);
    box(x + w_ * 0.2F, horizon_ * 0.66F, x + w_ * 0.23F, horizon_ * 0.69F, grey(0.8F));
  }
}

void Places::plain_wall() {
  const Colour wall = muted(0.45F, 0.9F, 0.1F);
  const float slope = dice_.uniform(-0.12F, 0.12F);
  two_planes([&](Vec2 p) { return wall * (1 + slope * (p.x / w_ - 0.5F) * 2 + 0.04F * mottle(p, 0.2F)); },
             [](Vec2) { return Colour{}; });
  paving(muted(0.4F, 0.7F, 0.04F), dice_.uniform(0, 0.25F));
  box(0, horizon_ - h_ * 0.02F, w_, horizon_, wall * 0.6F);
  if (dice_.chance(0.5F)) {  // graffiti
    const Colour spray = vivid();
    float x = dice_.uniform(0, 0.5F) * w_, y = dice_.uniform(0.2F, 0.8F) * horizon_;
    Path path;
    for (int i = 0; i < 5; ++i) {
      const Vec2 next{x + dice_.uniform(0.05F, 0.2F) * w_, y + dice_.uniform(-0.12F, 0.12F) * h_};
      path.stroke({x, y}, next, w_ * 0.03F);
      x = next.x;
      y = next.y;
    }
    canvas_.fill(path, spray, 0.8F);
  }
  if (dice_.chance(0.4F)) {
    const float x = dice_.uniform(0.0F, 0.9F) * w_;
    box(x, 0, x + w_ * 0.05F, horizon_, wall * 0.75F);
  }
}

void Places::park() {
  const Colour sky{dice_.uniform(0.6F, 0.8F), dice_.uniform(0.75F, 0.87F), dice_.uniform(0.88F, 0.97F)};
  const Colour lawn{dice_.uniform(0.3F, 0.45F), dice_.uniform(0.48F, 0.6F), dice_.uniform(0.2F, 0.3F)};
  two_planes(
      [&](Vec2 p) { return mix(sky, grey(0.96F), std::clamp(p.y / horizon_ + 0.25F * mottle(p, 0.25F), 0.0F, 1.0F)); },
      [&](Vec2 p) {
        return lawn * (0.95F + 0.14F * mottle({p.x, p.y * 1.7F}, 0.035F) + 0.1F * mottle(p, 0.2F));
      });
  Path hedge;
  for (int i = 0; i < 7; ++i) {
    hedge.ellipse({static_cast<float>(i) / 6 * w_, horizon_}, w_ * 0.16F, h_ * dice_.uniform(0.03F, 0.1F));
  }
  const Colour leaf{0.2F, dice_.uniform(0.32F, 0.44F), 0.18F};
  canvas_.fill(hedge, [&](Vec2 p) { return p.y > horizon_ + 2 ? lawn : leaf * (1 + 0.25F * mottle(p, 0.05F)); });
  const int trees = 1 + dice_.below(3);
  for (int i = 0; i < trees; ++i)
    tree(dice_.uniform(0, 1) * w_, horizon_ + h_ * dice_.uniform(0, 0.06F), h_ * dice_.uniform(0.3F, 0.55F));
  if (dice_.chance(0.6F)) {
    Path path;
    const float far = dice_.uniform(0.3F, 0.7F) * w_, near = dice_.uniform(0.2F, 0.8F) * w_,
                half = w_ * dice_.uniform(0.3F, 0.6F);
    path.polygon({{far - w_ * 0.04F, horizon_}, {far + w_ * 0.04F, horizon_}, {near + half, h_}, {near - half, h_}});
    const Colour gravel = muted(0.6F, 0.75F, 0.05F);
    canvas_.fill(path, [&](Vec2 p) { return gravel * (1 + 0.08F * mottle(p, 0.03F)); });
  }
  if (dice_.chance(0.3F)) stranger(dice_.uniform(0.05F, 0.95F) * w_, horizon_ + h_ * 0.07F, h_ * 0.26F);
}

void Places::shop_front() {
  const Colour frame = vivid() * 0.8F, inside = muted(0.5F, 0.85F, 0.08F);
  two_planes([&](Vec2) { return frame; }, [](Vec2) { return Colour{}; });
  paving(muted(0.45F, 0.7F, 0.02F), 0.22F);
  const float sign = horizon_ * dice_.uniform(0.16F, 0.26F);
  const Colour board = vivid();
  box(0, 0, w_, sign, board);
  const Colour ink = luminance(board) > 0.5F ? grey(0.15F) : grey(0.92F);
  float x = w_ * dice_.uniform(0.03F, 0.2F);
  while (x < w_ * 0.9F) {  // lettering
    const float letter = w_ * dice_.uniform(0.03F, 0.07F);
    if (dice_.chance(0.85F)) box(x, sign * 0.32F, x + letter, sign * 0.72F, ink);
    x += letter + w_ * 0.03F;
  }
  const float pane = w_ * dice_.uniform(0.3F, 0.55F), start = -dice_.uniform(0, 0.3F) * w_;
  for (float left = start; left < w_; left += pane) {
    const float l = left + w_ * 0.02F, r = left + pane - w_ * 0.02F;
    box(l, sign + h_ * 0.015F, r, horizon_ - h_ * 0.03F, inside);
    for (int i = 0; i < 5; ++i) {  // goods
      const float gx = dice_.uniform(l, r - w_ * 0.06F), gy = dice_.uniform(sign + h_ * 0.04F, horizon_ - h_ * 0.06F);
      box(gx, gy, std::min(gx + w_ * dice_.uniform(0.04F, 0.12F), r),
          std::min(gy + h_ * dice_.uniform(0.02F, 0.07F), horizon_ - h_ * 0.03F), vivid(), 0.8F);
    }
    Path gleam;
    gleam.polygon({{l + pane * 0.2F, sign + h_ * 0.02F},
                   {l + pane * 0.35F, sign + h_ * 0.02F},
                   {l + pane * 0.2F, horizon_ - h_ * 0.03F},
                   {l + pane * 0.05F, horizon_ - h_ * 0.03F}});
    canvas_.fill(gleam, grey(1), 0.16F);
  }
}

void Places::indoors() {
  const Colour wall = muted(0.65F, 0.92F, 0.06F),
               floor = dice_.chance(0.5F) ? muted(0.55F, 0.85F, 0.04F) : Colour{0.62F, 0.46F, 0.3F};
  two_planes([&](Vec2 p) { return wall * (1.03F - 0.1F * p.y / horizon_); }, [](Vec2) { return Colour{}; });
  paving(floor, 0.16F);
  for (int y = static_cast<int>(horizon_); y < canvas_.height(); ++y) {  // polished: lamps mirror in it
    const float t = (static_cast<float>(y) - horizon_) / (h_ - horizon_);
    for (int x = 0; x < canvas_.width(); ++x) {
      const float u = static_cast<float>(x) / w_ - 0.5F;
      canvas_.at(x, y) = canvas_.at(x, y) + grey(0.1F * std::max(0.0F, 1 - 9 * u * u) * (1 - t));
    }
  }
  const float lamp = horizon_ * dice_.uniform(0.04F, 0.14F);
  for (int i = 0; i < 3; ++i) {
    const float x = w_ * (0.1F + 0.33F * static_cast<float>(i));
    box(x, lamp, x + w_ * 0.18F, lamp + h_ * 0.015F, grey(1));
  }
  box(0, horizon_ - h_ * 0.015F, w_, horizon_, wall * 0.55F);
  const int doors = dice_.below(3);
  for (int i = 0; i < doors; ++i) {
    const float x = dice_.uniform(-0.05F, 0.85F) * w_, dw = w_ * dice_.uniform(0.2F, 0.3F);
    const Colour door = muted(0.3F, 0.7F, 0.1F);
    box(x, horizon_ * 0.3F, x + dw, horizon_, door);
    box(x + dw * 0.15F, horizon_ * 0.36F, x + dw * 0.85F, horizon_ * 0.6F, {0.55F, 0.66F, 0.72F});
  }
  if (dice_.chance(0.5F)) {
    const float x = (dice_.chance(0.5F) ? dice_.uniform(0.0F, 0.15F) : dice_.uniform(0.8F, 0.95F)) * w_;
    box(x, 0, x + w_ * 0.13F, horizon_ + h_ * 0.06F, wall * 0.8F);
    box(x, 0, x + w_ * 0.04F, horizon_ + h_ * 0.06F, wall * 0.92F);
  }
  if (dice_.chance(0.35F)) stranger(dice_.uniform(0.05F, 0.95F) * w_, horizon_ + h_ * 0.05F, h_ * 0.32F);
}

void Places::crossing() {
  const Colour asphalt = muted(0.26F, 0.42F, 0.015F), far = muted(0.45F, 0.7F, 0.07F);
  const float period = dice_.uniform(0.5F, 0.9F), slant = dice_.uniform(-0.5F, 0.5F);
  two_planes([&](Vec2 p) { return far * (1 + 0.1F * mottle(p, 0.12F)); },
             [&](Vec2 p) {
               const float depth = ground_depth(p.y);
               const Colour road = asphalt * (1 + 0.09F * mottle(p, 0.04F));
               if (depth > 2.6F) return road;
               const float u = ((p.x / w_ - 0.5F) * (1 + depth) + slant * depth) / period + 20;
               return u - std::floor(u) < 0.5F ? grey(0.86F + 0.06F * mottle(p, 0.05F)) : road;
             });
  windows(0, w_, 0, horizon_ * 0.75F, {0.33F, 0.38F, 0.42F});
  if (dice_.chance(0.6F)) car(dice_.uniform(-0.1F, 1.1F) * w_, horizon_ + h_ * 0.05F);
  if (dice_.chance(0.5F)) {
    const float x = (dice_.chance(0.5F) ? dice_.uniform(0.03F, 0.2F) : dice_.uniform(0.8F, 0.97F)) * w_;
    lamp_post(x);
    const float top = horizon_ * 0.3F;
    box(x - w_ * 0.05F, top, x + w_ * 0.05F, top + h_ * 0.11F, grey(0.1F));
    Path red, green;
    red.ellipse({x, top + h_ * 0.03F}, w_ * 0.028F, w_ * 0.028F);
    green.ellipse({x, top + h_ * 0.08F}, w_ * 0.028F, w_ * 0.028F);
    const bool go = dice_.chance(0.5F);
    canvas_.fill(red, {go ? 0.3F : 0.95F, 0.1F, 0.1F});
    canvas_.fill(green, {0.1F, go ? 0.9F : 0.3F, 0.2F});
  }
}

void Places::station() {
  const Colour tiles = muted(0.6F, 0.88F, 0.05F), train = vivid();
  const float tile = w_ * 0.09F;
  const bool has_train = dice_.chance(0.5F);
  two_planes(
      [&](Vec2 p) {
        const float fx = p.x / tile - std::floor(p.x / tile), fy = p.y / tile - std::floor(p.y / tile);
        return tiles * (fx < 0.12F || fy < 0.12F ? 0.84F : 1 + 0.04F * mottle(p, 0.08F));
      },
      [](Vec2) { return Colour{}; });
  paving(muted(0.4F, 0.62F, 0.02F), 0.14F);
  const float edge = horizon_ + h_ * dice_.uniform(0.05F, 0.16F);
  if (has_train) {
    box(0, horizon_ * 0.2F, w_, horizon_ + h_ * 0.01F, mix(train, grey(0.75F), 0.5F));
    box(0, horizon_ * 0.8F, w_, horizon_ * 0.88F, train);
    for (float x = -dice_.uniform(0, 0.3F) * w_; x < w_; x += w_ * 0.36F) {
      box(x, horizon_ * 0.34F, x + w_ * 0.27F, horizon_ * 0.64F, {0.16F, 0.2F, 0.24F});
    }
  } else {
    box(0, horizon_ * 0.32F, w_, horizon_ * 0.4F, train);
    const float x = dice_.uniform(0.0F, 0.6F) * w_;
    box(x, horizon_ * 0.5F, x + w_ * 0.35F, horizon_ * 0.85F, mix(vivid(), grey(0.85F), 0.4F));
  }
  box(0, edge, w_, edge + h_ * 0.02F, {0.93F, 0.79F, 0.2F});
  if (dice_.chance(0.4F)) stranger(dice_.uniform(0.02F, 0.98F) * w_, edge, h_ * 0.36F);
}

void Places::draw() {
  switch (view_.place) {
    case Place::kStreet:
      street();
      break;
    case Place::kBrickWall:
      brick_wall();
      break;
    case Place::kPlainWall:
      plain_wall();
      break;
    case Place::kPark:
      park();
      break;
    case Place::kShopFront:
      shop_front();
      break;
    case Place::kIndoors:
      indoors();
      break;
    case Place::kCrossing:
      crossing();
      break;
    case Place::kStation:
      station();
      break;
  }
  if (dice_.chance(0.12F)) litter_bin();
}

}  // namespace

void draw_place(Canvas& canvas, const View& view) {
  Places(canvas, view).draw();
  canvas.blur(0.2F);  // the camera looks at the person
}

}  // namespace muster::synth
