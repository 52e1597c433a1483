// Hair styles.
#include "dataloader/synth/head.h"

namespace muster::synth {

void Head::curls(float spread) const {
  Path path;
  for (int i = 0; i < 13; ++i) {
    const float t = -0.45F + (kPi + 0.9F) * static_cast<float>(i) / 12.0F;
    const float wobble = 1.0F + 0.06F * std::sin(static_cast<float>(i) * 2.4F);
    path.ellipse(at(std::cos(t) * spread * wobble, 0.08F + std::sin(t) * spread * 0.92F * wobble), rx_ * 0.34F,
                 ry_ * 0.27F);
  }
  s_.canvas.fill(path, p_.hair_shade);
}

// A curtain of hair from the crown down to `bottom` half heights.
void Head::strands(float bottom, float breadth) const {
  const float back = -0.3F * sideways();
  Path path;
  path.smooth({at(back - breadth * 0.8F, 0.7F), at(back + breadth * 0.8F, 0.7F), at(back + breadth, -0.2F),
               at(back + breadth * 1.02F, bottom + 0.3F), at(back + breadth * 0.6F, bottom),
               at(back - breadth * 0.6F, bottom), at(back - breadth * 1.02F, bottom + 0.3F),
               at(back - breadth, -0.2F)});
  const float light = s_.view.light_x;
  s_.canvas.fill(path, [&](Vec2 q) {
    const float u = (q.x - centre_.x) / rx_;
    return p_.hair_shade * (0.97F + 0.13F * std::sin(u * 11) + 0.12F * light * u);
  });
}

void Head::hair_behind() const {
  if (hooded()) return;
  if (p_.hair == HairStyle::kLong) strands(-2.5F, 1.22F);
  if (p_.hair == HairStyle::kBob) strands(-1.15F, 1.2F);
  if (p_.hair == HairStyle::kCurly && !covered()) curls(1.12F);
}

// The parts in front of the body: curtains of hair behind, a lock on each side that the camera sees in front.
void Head::hair_of_long_styles() const {
  const bool is_long = p_.hair == HairStyle::kLong;
  if (facing() < 0) return is_long ? strands(-2.5F, 1.12F) : strands(-1.15F, 1.15F);
  const float bottom = is_long ? -1.9F : -0.95F;
  Path path;
  for (const float side : {-1.45F, 1.45F}) {
    if (!sees(side, 1.9F)) continue;
    const float x = std::sin(side + yaw_) * 1.02F - 0.08F * sideways();
    path.smooth({at(x - 0.2F, 0.62F), at(x + 0.2F, 0.62F), at(x + 0.25F, bottom), at(x - 0.25F, bottom)});
  }
  s_.canvas.fill(path, p_.hair_shade * 0.95F);
}

void Head::ponytail() const {
  const float f = facing(), d = sideways();

  // Its root is at the back of the head; face on, the head hides it.
  if (f > 0.75F) return;
  const Vec2 root = at(-1.02F * d, 0.35F), bend = at(-1.5F * d, -0.35F), tip = at(-1.28F * d, -1.75F);
  Path path;
  path.capsule(root, rx_ * 0.27F, bend, rx_ * 0.34F);
  path.capsule(bend, rx_ * 0.34F, tip, rx_ * 0.14F);
  s_.canvas.fill(path, p_.hair_shade * 1.12F);
  Path tie;
  tie.ellipse(root, rx_ * 0.2F, ry_ * 0.13F);
  s_.canvas.fill(tie, p_.hair_shade * 0.5F);
}

void Head::bun() const {
  const float f = facing(), d = sideways();
  const bool away = f < 0;

  if (covered() && !away) return;
  Path path;
  path.ellipse(at(-0.75F * d, covered() ? 0.0F : f > 0.3F ? 1.18F : 0.85F), rx_ * 0.46F, ry_ * 0.36F);
  s_.canvas.fill(path, p_.hair_shade * 1.15F);
}

void Head::hair_over() const {
  if (hooded()) return;
  switch (p_.hair) {
    case HairStyle::kLong:
    case HairStyle::kBob:
      return hair_of_long_styles();
    case HairStyle::kPonytail:
      return ponytail();
    case HairStyle::kBun:
      return bun();
    case HairStyle::kCurly:
      if (facing() < 0) {
        curls(0.95F);
        Path mass;
        mass.ellipse(at(0, 0.05F), rx_ * 1.15F, ry_ * 1.12F);
        s_.canvas.fill(mass, p_.hair_shade);
      }
      return;
    case HairStyle::kShort:
    case HairStyle::kBald:
      return;
  }
}

}  // namespace muster::synth
