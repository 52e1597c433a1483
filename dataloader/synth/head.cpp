// Skull and face.
#include "dataloader/synth/head.h"

namespace muster::synth {

bool Head::span(float half_angle, float* left, float* right) const {
  float turned = yaw_ - 2 * kPi * std::round(yaw_ / (2 * kPi));
  const float low = std::max(turned - half_angle, -kPi / 2), high = std::min(turned + half_angle, kPi / 2);
  *left = std::sin(low);
  *right = std::sin(high);
  return low < high - 0.1F;
}

void Head::skull() const {
  const bool bald = p_.hair == HairStyle::kBald;
  const float volume = bald ? 1.0F : p_.hair == HairStyle::kShort ? 1.05F : 1.1F;
  Path path;
  path.ellipse(at(0, bald ? 0.0F : 0.04F), rx_ * volume, ry_ * volume);
  const Colour c = bald ? p_.skin : p_.hair_shade;
  const float light = s_.view.light_x;
  s_.canvas.fill(path, [&](Vec2 q) {
    const float u = (q.x - centre_.x) / rx_, v = (q.y - centre_.y) / ry_;
    const float strand = bald ? 1.0F : 1 + 0.1F * std::sin(9 * u + 2 * v);
    return c * (strand * (1 + 0.14F * light * u - 0.12F * u * u - 0.1F * v));
  });
}

void Head::face() const {
  float left = 0, right = 0;
  const float light = s_.view.light_x;
  const auto skin = [&](Vec2 q) {
    const float u = (q.x - centre_.x) / rx_;
    return p_.skin * (1.03F + 0.12F * light * u - 0.1F * u * u);
  };
  const bool hair_on_ears = p_.hair == HairStyle::kLong || p_.hair == HairStyle::kBob || p_.hair == HairStyle::kCurly;
  if (!hair_on_ears && !hooded()) {
    for (const float ear : {-1.6F, 1.6F}) {
      if (!sees(ear, 1.75F)) continue;
      Path path;
      path.ellipse(on(ear, -0.08F), rx_ * 0.17F, ry_ * 0.2F);
      s_.canvas.fill(path, p_.skin * 0.85F);
    }
  }
  if (!span(hair_on_ears ? 1.15F : 1.45F, &left, &right)) {
    if (p_.hair == HairStyle::kBald) return;
    // The nape below the hair.
    if (p_.hair == HairStyle::kShort || p_.hair == HairStyle::kPonytail || p_.hair == HairStyle::kBun) {
      Path nape;
      nape.box(at(0, -0.92F), rx_ * 0.62F, ry_ * 0.24F, 0, 0.7F);
      s_.canvas.fill(nape, p_.skin * 0.9F);
    }
    return;
  }
  const float hairline = p_.hair == HairStyle::kBald ? 0.95F : p_.hair == HairStyle::kShort ? 0.6F : 0.52F;
  const float middle = (left + right) / 2, half = (right - left) / 2, chin = middle + 0.25F * sideways();
  Path path;
  path.smooth({at(left, 0.1F), at(left + 0.05F * half, hairline), at(middle, hairline + 0.06F),
               at(right - 0.05F * half, hairline), at(right, 0.1F), at(right - 0.12F * half, -0.55F),
               at(chin + 0.3F * half, -1.03F), at(chin - 0.3F * half, -1.03F), at(left + 0.12F * half, -0.55F)});
  s_.canvas.fill(path, skin);
  features();
}

void Head::eyes() const {
  for (const float side : {-0.42F, 0.42F}) {
    if (!sees(side, 1.3F)) continue;
    const Vec2 eye = on(side, 0.0F);
    const float shrink = std::max(std::cos(side + yaw_), 0.35F);
    Path brow;
    brow.stroke(eye + Vec2{-rx_ * 0.17F * shrink, -ry_ * 0.2F}, eye + Vec2{rx_ * 0.17F * shrink, -ry_ * 0.2F},
                ry_ * 0.08F);
    const Colour brow_colour = p_.hair == HairStyle::kBald ? p_.skin * 0.5F : p_.hair_shade * 0.75F;
    s_.canvas.fill(brow, brow_colour, 0.75F);
    Path white, iris;
    white.ellipse(eye, rx_ * 0.17F * shrink, ry_ * 0.085F);
    iris.ellipse(eye, rx_ * 0.09F * shrink, ry_ * 0.085F);
    s_.canvas.fill(white, mix(p_.skin, {0.95F, 0.94F, 0.92F}, 0.7F), 0.8F);
    s_.canvas.fill(iris, {0.1F, 0.07F, 0.06F});
    if (p_.eyewear == Eyewear::kNone) continue;
    const bool dark = p_.eyewear == Eyewear::kSunglasses;
    const Vec2 temple = on(side > 0 ? 1.5F : -1.5F, 0.06F);
    Path frame;
    if (sees(side > 0 ? 1.2F : -1.2F, 1.5F)) frame.stroke(eye, temple, ry_ * 0.1F);
    frame.stroke(eye, on(0, 0.02F), ry_ * 0.09F);
    frame.box(eye, rx_ * 0.34F * shrink, ry_ * 0.2F, 0, 0.6F);
    const Colour rim{0.05F, 0.05F, 0.06F};
    s_.canvas.fill(frame, rim);
    if (!dark) {
      Path glass;
      glass.box(eye, rx_ * 0.23F * shrink, ry_ * 0.12F, 0, 0.6F);
      s_.canvas.fill(glass, mix(p_.skin, {0.85F, 0.92F, 0.97F}, 0.55F));
      s_.canvas.fill(iris, {0.1F, 0.07F, 0.06F}, 0.8F);
    }
  }
}

void Head::features() const {
  if (sees(0, 1.62F)) {
    const float turn = sideways();
    Path nose;
    nose.ellipse(on(0, -0.2F) + Vec2{rx_ * 0.12F * turn, 0}, rx_ * (0.09F + 0.07F * std::abs(turn)), ry_ * 0.13F);
    s_.canvas.fill(nose, p_.skin * 0.9F);
  }
  if (p_.beard) {
    float left = 0, right = 0;
    span(1.4F, &left, &right);
    const float middle = (left + right) / 2 + 0.12F * sideways(), half = (right - left) / 2;
    Path beard;
    beard.smooth({at(left, -0.1F), at(left + 0.25F * half, -0.4F), at(middle, -0.36F), at(right - 0.25F * half, -0.4F),
                  at(right, -0.1F), at(right - 0.08F * half, -0.7F), at(middle + 0.35F * half, -1.18F),
                  at(middle - 0.35F * half, -1.18F), at(left + 0.08F * half, -0.7F)});
    const Colour hair = p_.hair == HairStyle::kBald ? shade_of(HairColour::kBrown) : p_.hair_shade;
    s_.canvas.fill(beard, hair * 0.92F);
  }
  if (sees(0, 1.45F)) {
    Path mouth;
    const float shrink = std::max(facing(), 0.4F);
    mouth.stroke(on(0, -0.58F) - Vec2{rx_ * 0.2F * shrink, 0}, on(0, -0.58F) + Vec2{rx_ * 0.2F * shrink, 0},
                 ry_ * 0.1F);
    s_.canvas.fill(mouth, mix(p_.skin, {0.62F, 0.2F, 0.2F}, 0.6F), 0.85F);
  }
  eyes();
  if (p_.mask) {
    float left = 0, right = 0;
    span(1.3F, &left, &right);
    const float middle = (left + right) / 2 + 0.15F * sideways();
    Path mask;
    mask.smooth({at(left, -0.15F), at(middle, -0.06F), at(right, -0.15F), at(right, -0.62F), at(middle + 0.2F, -1.06F),
                 at(middle - 0.2F, -1.06F), at(left, -0.62F)});
    s_.canvas.fill(mask, {0.86F, 0.92F, 0.95F});
  }
}

void draw_hair_behind(const Stage& s) {
  Head(s).hair_behind();
}

void draw_head(const Stage& s) {
  const Head head(s);
  head.skull();
  head.face();
  head.hair_over();
  head.headwear();
}

}  // namespace muster::synth
