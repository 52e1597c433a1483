// What is worn on the head and round the neck.
#include "dataloader/synth/head.h"

namespace muster::synth {

void Head::cap() const {
  const Colour c = p_.headwear_dye.shade;
  const float light = s_.view.light_x, f = facing(), d = sideways();
  Path dome;
  dome.smooth({at(-1.12F, 0.3F), at(-1.12F, 0.85F), at(-0.6F, 1.28F), at(0.6F, 1.28F), at(1.12F, 0.85F),
               at(1.12F, 0.3F), at(0, 0.24F)});
  s_.canvas.fill(dome, [&](Vec2 q) {
    const float u = (q.x - centre_.x) / rx_;
    return c * round_shade(u * 0.8F, light);
  });
  if (f < -0.3F) return;
  Path brim;
  const Vec2 root = at(0.45F * d, 0.34F), tip = at(0.45F * d + 1.25F * d, 0.3F - 0.16F * std::max(f, 0.0F));
  const float breadth = rx_ * (0.35F + 0.62F * std::max(f, 0.0F));
  brim.ellipse(mix(root, tip, 0.5F), breadth + rx_ * 0.45F * std::abs(d), ry_ * (0.13F + 0.1F * std::max(f, 0.0F)));
  s_.canvas.fill(brim, c * 0.68F);
}

void Head::hood() const {
  const Colour c = p_.headwear_dye.shade;
  const float light = s_.view.light_x;
  const auto cloth = [&](Vec2 q) { return c * round_shade((q.x - centre_.x) / rx_ * 0.75F, light); };
  Path path;
  path.smooth({at(-1.25F, -1.0F), at(-1.3F, 0.3F), at(-0.85F, 1.2F), at(0, 1.4F), at(0.85F, 1.2F), at(1.3F, 0.3F),
               at(1.25F, -1.0F), at(0.7F, -1.35F), at(-0.7F, -1.35F)});
  s_.canvas.fill(path, cloth);
  float left = 0, right = 0;
  if (!span(1.0F, &left, &right)) return;
  const float middle = (left + right) / 2, half = std::max((right - left) / 2, 0.2F);
  Path hole;
  hole.ellipse(at(middle, -0.08F), rx_ * half * 0.98F, ry_ * 0.9F);
  s_.canvas.fill(hole, c * 0.35F);
  Path skin;
  skin.ellipse(at(middle + 0.05F * sideways(), -0.14F), rx_ * half * 0.84F, ry_ * 0.8F);
  s_.canvas.fill(skin, p_.skin * 0.95F);
  features();
}

Colour Head::hat_cloth(Vec2 pixel) const {
  return p_.headwear_dye.shade * round_shade((pixel.x - centre_.x) / rx_ * 0.75F, s_.view.light_x);
}

void Head::beanie() const {
  const Colour c = p_.headwear_dye.shade;
  const auto cloth = [this](Vec2 q) { return hat_cloth(q); };

  Path dome, fold, pompom;
  dome.smooth(
      {at(-1.13F, 0.3F), at(-1.1F, 0.95F), at(-0.5F, 1.52F), at(0.5F, 1.52F), at(1.1F, 0.95F), at(1.13F, 0.3F)});
  s_.canvas.fill(dome, cloth);
  fold.box(at(0, 0.45F), rx_ * 1.16F, ry_ * 0.2F, 0, 0.5F);
  s_.canvas.fill(fold, c * 0.72F);
  pompom.ellipse(at(0, 1.55F), rx_ * 0.28F, ry_ * 0.22F);
  s_.canvas.fill(pompom, c * 1.15F);
}

void Head::brimmed_hat() const {
  const Colour c = p_.headwear_dye.shade;
  const auto cloth = [this](Vec2 q) { return hat_cloth(q); };

  Path brim, crown, ribbon;
  crown.smooth(
      {at(-1.0F, 0.4F), at(-0.95F, 1.25F), at(-0.5F, 1.45F), at(0.5F, 1.45F), at(0.95F, 1.25F), at(1.0F, 0.4F)});
  brim.ellipse(at(0, 0.42F), rx_ * 1.95F, ry_ * 0.28F);
  s_.canvas.fill(brim, c * 0.82F);
  s_.canvas.fill(crown, cloth);
  ribbon.box(at(0, 0.62F), rx_ * 1.02F, ry_ * 0.13F, 0, 0.3F);
  s_.canvas.fill(ribbon, luminance(c) > 0.3F ? c * 0.45F : Colour{0.55F, 0.5F, 0.45F});
}

void Head::headphones() const {
  const Colour plastic{0.1F, 0.1F, 0.11F};
  Path band_over;
  for (int i = 0; i < 8; ++i) {
    const float a = kPi * static_cast<float>(i) / 8, b = kPi * static_cast<float>(i + 1) / 8;
    const float squeeze = std::max(std::abs(facing()), 0.25F);
    band_over.stroke(at(std::cos(a) * 1.1F * squeeze, 0.1F + std::sin(a) * 1.12F),
                     at(std::cos(b) * 1.1F * squeeze, 0.1F + std::sin(b) * 1.12F), rx_ * 0.22F);
  }
  for (const float ear : {-1.57F, 1.57F}) {
    if (sees(ear, 1.8F)) band_over.ellipse(on(ear, -0.05F), rx_ * (0.2F + 0.15F * std::abs(sideways())), ry_ * 0.34F);
  }
  s_.canvas.fill(band_over, plastic);
}

void Head::headwear() const {
  switch (p_.headwear) {
    case Headwear::kNone:
      break;
    case Headwear::kCap:
      cap();
      break;
    case Headwear::kBeanie:
      beanie();
      break;
    case Headwear::kBrimmedHat:
      brimmed_hat();
      break;
    case Headwear::kHood:
      hood();
      break;
  }
  if (p_.headphones) headphones();
}

void draw_scarf(const Stage& s) {
  const Person& p = s.person;
  if (!p.scarf) return;
  const Colour c = p.scarf_dye.shade;
  const Vec2 at = s.project(s.body.head + Vec3{0, -0.084F, 0.0F});
  Path wrap, tail;
  const bool front = s.project.facing() > -0.2F;
  const float side = s.px(0.03F) * (p.bag_side > 0 ? 1.0F : -1.0F) + s.px(0.03F) * s.project.sideways();
  if (front) {
    tail.box(at + Vec2{side, s.px(0.085F)}, s.px(0.024F), s.px(0.085F), 0.06F, 0.2F);
    s.canvas.fill(tail, c * 0.86F);
  }
  wrap.ellipse(at, s.px(0.068F), s.px(0.032F));
  const float light = s.view.light_x;
  s.canvas.fill(wrap, [&](Vec2 q) {
    const float u = (q.x - at.x) / s.px(0.068F), v = (q.y - at.y) / s.px(0.032F);
    return c * (round_shade(u, light) * (1 - 0.13F * std::sin(v * 5 + u * 2)));
  });
}

}  // namespace muster::synth
