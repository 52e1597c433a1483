// Bags and what is held in a hand.
#include "dataloader/synth/figure.h"

namespace muster::synth {
namespace {

// A soft box, shaded, with a darker lower half.
void bag_body(const Stage& s, Vec2 centre, float half_width, float half_height, float tilt, float roundness) {
  const Colour c = s.person.bag_dye.shade;
  const float light = s.view.light_x;
  Path edge, path;
  edge.box(centre, half_width + s.px(0.006F), half_height + s.px(0.006F), tilt, roundness);
  s.canvas.fill(edge, {0.04F, 0.04F, 0.05F}, 0.35F);
  path.box(centre, half_width, half_height, tilt, roundness);
  s.canvas.fill(path, [&](Vec2 q) {
    const float u = (q.x - centre.x) / half_width, v = (q.y - centre.y) / half_height;
    return c * (round_shade(u * 0.8F, light) * (1.02F - 0.08F * v));
  });
}

Colour trim(const Stage& s) {
  const Colour c = s.person.bag_dye.shade;
  return luminance(c) > 0.22F ? c * 0.55F : c + Colour{0.2F, 0.2F, 0.2F};
}

const Arm& bag_arm(const Stage& s) {
  return s.body.arms[static_cast<size_t>(side_index(s.person.bag_side))];
}

void shoulder_bag(const Stage& s) {
  const float side = static_cast<float>(s.person.bag_side);
  const Vec2 at = s.project({side * 0.115F * s.body.girth, 0.51F + s.body.pelvis, 0.015F});
  const float turned = std::abs(s.project.sideways());
  const float half = s.px(0.035F + 0.045F * turned), tall = s.px(0.058F);
  bag_body(s, at, half, tall, 0, 0.35F);
  Path flap;
  flap.box(at - Vec2{0, tall * 0.45F}, half * 0.98F, tall * 0.5F, 0, 0.35F);
  s.canvas.fill(flap, trim(s), 0.45F);
}

void held_bag(const Stage& s) {
  const Arm& arm = bag_arm(s);
  const Vec2 hand = s.project(arm.wrist + Vec3{0, -0.02F, 0});
  const bool shopping = s.person.bag == Bag::kShoppingBag;
  const float breadth = 0.55F + 0.45F * std::abs(s.project.sideways());
  const float half = s.px(shopping ? 0.062F : 0.07F) * breadth, tall = s.px(shopping ? 0.082F : 0.052F);
  const Vec2 at = hand + Vec2{0, tall + s.px(shopping ? 0.03F : 0.05F)};
  Path handle;
  handle.stroke(hand, at + Vec2{-half * 0.6F, -tall}, s.px(0.013F));
  handle.stroke(hand, at + Vec2{half * 0.6F, -tall}, s.px(0.013F));
  s.canvas.fill(handle, shopping ? s.person.bag_dye.shade * 0.8F : trim(s));
  bag_body(s, at, half, tall, 0, shopping ? 0.08F : 0.5F);
  Path detail;
  if (shopping) {
    detail.ellipse(at, half * 0.4F, tall * 0.3F);
    s.canvas.fill(detail,
                  luminance(s.person.bag_dye.shade) > 0.5F ? Colour{0.35F, 0.35F, 0.38F} : Colour{0.92F, 0.92F, 0.9F},
                  0.85F);
  } else {
    detail.stroke(at + Vec2{-half * 0.8F, -tall * 0.35F}, at + Vec2{half * 0.8F, -tall * 0.35F}, s.px(0.01F));
    detail.box(at + Vec2{0, -tall * 0.25F}, s.px(0.012F), s.px(0.014F), 0, 0.5F);
    s.canvas.fill(detail, trim(s));
  }
}

void umbrella(const Stage& s, Vec3 hand) {
  const Colour c = s.person.carried_dye.shade;
  const float lean = s.view.roll * 0.5F;
  const Vec2 grip = s.project(hand);
  const Vec2 top = s.project({hand.x * 0.3F, 1.165F + s.body.pelvis, hand.z * 0.5F});
  const Vec2 tip{top.x, std::min(top.y, grip.y - s.px(0.3F))};
  Path shaft;
  shaft.stroke(grip + Vec2{0, s.px(0.03F)}, tip, s.px(0.012F));
  s.canvas.fill(shaft, {0.25F, 0.25F, 0.27F});
  const float r = s.px(0.24F), h = s.px(0.125F), scallop = s.px(0.022F);
  std::vector<Vec2> rim;
  for (int i = 0; i <= 16; ++i) {
    const float t = 3.14159265F * static_cast<float>(i) / 16;
    rim.push_back(tip + Vec2{-std::cos(t) * r, h - std::sin(t) * h});
  }
  for (int i = 15; i >= 1; --i) {
    const float x = -1 + static_cast<float>(i) / 8;
    rim.push_back(tip + Vec2{x * r, h - (i % 4 == 0 ? 0.0F : scallop * (i % 2 == 0 ? 1.0F : 0.7F))});
  }
  Path canopy;
  canopy.polygon(rim);
  const float light = s.view.light_x;
  s.canvas.fill(canopy, [&](Vec2 q) {
    const float u = (q.x - tip.x) / r, v = (q.y - tip.y) / h;
    const float panel = std::sin((u / std::sqrt(std::max(0.25F, v))) * 6.5F + 0.6F) > 0 ? 1.05F : 0.9F;
    return c * (panel * (1.05F + 0.14F * light * u - 0.2F * v * v * 0.5F));
  });
  Path spike;
  spike.stroke(tip + Vec2{lean, 0}, tip - Vec2{0, s.px(0.02F)}, s.px(0.01F));
  s.canvas.fill(spike, {0.25F, 0.25F, 0.27F});
}

}  // namespace

void draw_backpack(const Stage& s) {
  if (s.person.bag != Bag::kBackpack) return;
  const float f = s.project.facing(), d = std::abs(s.project.sideways());
  const float breadth = 0.092F * std::abs(f) + 0.05F * d, tall = 0.125F;
  const Vec2 at = s.project({0, 0.69F + s.body.pelvis, -0.068F * s.body.depth - 0.035F});
  const float tilt = s.view.roll;
  Path handle;
  handle.ellipse(at - Vec2{0, s.px(tall)}, s.px(0.022F), s.px(0.016F));
  s.canvas.fill(handle, trim(s));
  bag_body(s, at, s.px(breadth), s.px(tall), tilt, 0.45F);
  if (f > 0.2F) return;
  // Front pocket and zip.
  const float shift = -0.02F * s.project.sideways();
  Path pocket, zip;
  pocket.box(at + Vec2{s.px(shift), s.px(0.055F)}, s.px(breadth * 0.72F), s.px(0.05F), tilt, 0.35F);
  s.canvas.fill(pocket, trim(s), 0.5F);
  zip.stroke(at + Vec2{-s.px(breadth * 0.7F), -s.px(0.05F)}, at + Vec2{s.px(breadth * 0.7F), -s.px(0.05F)},
             s.px(0.01F));
  s.canvas.fill(zip, trim(s), 0.8F);
}

void draw_hand_bag(const Stage& s) {
  if (s.person.bag == Bag::kShoulderBag) shoulder_bag(s);
  if (s.person.bag == Bag::kHandbag || s.person.bag == Bag::kShoppingBag) held_bag(s);
}

void draw_suitcase(const Stage& s) {
  if (s.person.bag != Bag::kSuitcase) return;
  const Vec2 hand = s.project(bag_arm(s).wrist);
  const float side = static_cast<float>(s.person.bag_side);
  const float breadth = 0.075F * std::abs(s.project.facing()) + 0.055F * std::abs(s.project.sideways());
  const Vec2 at = s.project({side * 0.185F * s.body.girth, 0.145F, -0.17F});
  const float tall = s.px(0.115F), half = s.px(breadth);
  Path wheels, rod;
  for (const float x : {-0.7F, 0.7F})
    wheels.ellipse(at + Vec2{x * half, tall + s.px(0.012F)}, s.px(0.016F), s.px(0.016F));
  s.canvas.fill(wheels, {0.08F, 0.08F, 0.08F});
  rod.stroke(at - Vec2{half * 0.35F, tall}, hand, s.px(0.011F));
  rod.stroke(at - Vec2{-half * 0.35F, tall}, hand, s.px(0.011F));
  s.canvas.fill(rod, {0.35F, 0.35F, 0.37F});
  bag_body(s, at, half, tall, s.view.roll, 0.2F);
  Path ribs;
  for (const float x : {-0.45F, 0.0F, 0.45F})
    ribs.stroke(at + Vec2{x * half, -tall * 0.85F}, at + Vec2{x * half, tall * 0.85F}, s.px(0.009F));
  s.canvas.fill(ribs, trim(s), 0.55F);
}

void draw_carried(const Stage& s) {
  const Person& p = s.person;
  const Vec3 wrist = s.body.arms[static_cast<size_t>(side_index(-p.bag_side))].wrist;
  const Vec2 hand = s.project(wrist);
  const Colour c = p.carried_dye.shade;
  Path path, detail;
  switch (p.carried) {
    case Carried::kNone:
      return;
    case Carried::kUmbrella:
      return umbrella(s, wrist);
    case Carried::kPhone:
      path.box(hand - Vec2{0, s.px(0.025F)}, s.px(0.017F), s.px(0.034F), 0.2F, 0.3F);
      s.canvas.fill(path, {0.07F, 0.07F, 0.08F});
      if (!s.view.phone_at_ear) {
        detail.box(hand - Vec2{0, s.px(0.027F)}, s.px(0.011F), s.px(0.025F), 0.2F, 0.2F);
        s.canvas.fill(detail, {0.62F, 0.8F, 0.95F});
      }
      return;
    case Carried::kCup:
      path.polygon({hand + Vec2{-s.px(0.021F), -s.px(0.052F)}, hand + Vec2{s.px(0.021F), -s.px(0.052F)},
                    hand + Vec2{s.px(0.015F), s.px(0.012F)}, hand + Vec2{-s.px(0.015F), s.px(0.012F)}});
      s.canvas.fill(path, c);
      detail.box(hand - Vec2{0, s.px(0.054F)}, s.px(0.024F), s.px(0.009F), 0, 0.4F);
      s.canvas.fill(detail, {0.95F, 0.95F, 0.94F});
      return;
    case Carried::kBottle:
      path.box(hand + Vec2{0, s.px(0.015F)}, s.px(0.018F), s.px(0.045F), 0.05F, 0.5F);
      path.box(hand - Vec2{0, s.px(0.032F)}, s.px(0.009F), s.px(0.016F), 0.05F, 0.3F);
      s.canvas.fill(path, c);
      detail.box(hand + Vec2{0, s.px(0.018F)}, s.px(0.018F), s.px(0.014F), 0.05F, 0.1F);
      s.canvas.fill(detail, {0.95F, 0.95F, 0.94F}, 0.85F);
      return;
    case Carried::kBook:
      path.box(hand + Vec2{0, -s.px(0.012F)}, s.px(0.05F), s.px(0.036F), -0.15F, 0.08F);
      s.canvas.fill(path, c);
      detail.box(hand + Vec2{s.px(0.004F), s.px(0.025F)}, s.px(0.047F), s.px(0.006F), -0.15F, 0.1F);
      s.canvas.fill(detail, {0.95F, 0.94F, 0.9F});
      return;
  }
}

}  // namespace muster::synth
