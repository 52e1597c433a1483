#include "dataloader/synth/skeleton.h"

namespace muster::synth {
namespace {

constexpr float kThigh = 0.235F, kShin = 0.225F, kUpperArm = 0.16F, kForearm = 0.145F;

// A segment of this length that hangs at this angle, forward positive.
Vec3 hanging(float reach, float angle, float outward = 0) {
  return {outward * reach, -std::cos(angle) * reach, std::sin(angle) * reach};
}

Leg make_leg(const View& view, int index, float limb) {
  const float phase = view.phase + (index == 0 ? 0.0F : kPi);
  const float angle = view.stride * std::sin(phase);
  const float bend = view.walking ? 0.1F + 1.1F * view.stride * std::max(0.0F, std::cos(phase)) : 0.04F;
  Leg leg;
  leg.hip = {side_sign(index) * 0.05F * limb, 0.505F, 0};
  leg.knee = leg.hip + hanging(kThigh, angle, side_sign(index) * (view.walking ? 0.0F : 0.05F));
  leg.ankle = leg.knee + hanging(kShin, angle - bend);
  const float tip = view.walking ? std::clamp(0.5F * (angle - bend), -0.5F, 0.4F) : 0.0F;
  leg.toe = leg.ankle + Vec3{side_sign(index) * 0.018F, -0.025F + 0.07F * tip, 0.075F};
  return leg;
}

Arm make_arm(const Person& person, const View& view, int index, float shoulder_x) {
  const float side = side_sign(index);
  Arm arm;
  arm.shoulder = {side * shoulder_x, 0.79F, 0};
  const bool holds = person.carried != Carried::kNone && index == side_index(-person.bag_side);
  if (holds && view.phone_at_ear) {
    arm.elbow = arm.shoulder + Vec3{side * 0.055F, -0.13F, 0.07F};
    arm.wrist = {side * 0.075F, 0.9F, 0.035F};
    return arm;
  }
  if (holds && person.carried == Carried::kUmbrella) {
    arm.elbow = arm.shoulder + Vec3{side * 0.03F, -0.145F, 0.04F};
    arm.wrist = arm.shoulder + Vec3{side * 0.0F, -0.05F, 0.13F};
    return arm;
  }
  if (holds && person.carried != Carried::kBottle) {
    arm.elbow = arm.shoulder + Vec3{side * 0.045F, -0.15F, 0.02F};
    arm.wrist = arm.elbow + Vec3{-side * 0.05F, 0.055F, 0.12F};
    return arm;
  }
  const bool loaded = index == side_index(person.bag_side) && person.bag != Bag::kNone &&
                      person.bag != Bag::kBackpack && person.bag != Bag::kShoulderBag;
  const float swing = -view.stride * std::sin(view.phase + (index == 0 ? 0.0F : kPi));
  const float angle = loaded ? 0.15F * swing + (person.bag == Bag::kSuitcase ? -0.3F : 0.0F) : 1.05F * swing;
  const float bend = loaded ? 0.04F : 0.15F + 0.5F * std::max(0.0F, swing);
  arm.elbow = arm.shoulder + hanging(kUpperArm, angle, side * (view.arm_out + 0.05F));
  arm.wrist = arm.elbow + hanging(kForearm, angle + bend, side * view.arm_out * 0.2F);
  return arm;
}

}  // namespace

Projection::Projection(const View& view, int width, int height)
    : yaw_(view.yaw),
      cos_(std::cos(view.yaw)),
      sin_(std::sin(view.yaw)),
      pitch_cos_(std::cos(view.pitch * 0.5F)),
      pitch_sin_(std::sin(view.pitch)),
      roll_cos_(std::cos(view.roll)),
      roll_sin_(std::sin(view.roll)) {
  // A picture much broader than a person's shape still shows the whole person.
  const float frame = std::min(static_cast<float>(height), 2.2F * static_cast<float>(width));
  unit_ = frame * view.scale;
  ground_ = {static_cast<float>(width) * 0.5F + view.shift_x * frame,
             static_cast<float>(height) * 0.5F + view.shift_y * frame + unit_ * 0.49F};
}

Vec2 Projection::operator()(Vec3 p) const {
  return from_plane({p.x * cos_ + p.z * sin_, p.y * pitch_cos_ - depth(p) * pitch_sin_});
}

Vec2 Projection::from_plane(Vec2 p) const {
  return {ground_.x + unit_ * (p.x * roll_cos_ + p.y * roll_sin_),
          ground_.y + unit_ * (p.x * roll_sin_ - p.y * roll_cos_)};
}

Vec2 Projection::plane(Vec2 pixel) const {
  const float x = (pixel.x - ground_.x) / unit_, y = (pixel.y - ground_.y) / unit_;
  return {x * roll_cos_ + y * roll_sin_, (x * roll_sin_ - y * roll_cos_) / pitch_cos_};
}

Skeleton make_skeleton(const Person& person, const View& view) {
  Skeleton s;
  s.girth = 1 + 0.13F * person.build;
  s.depth = 1 + 0.25F * person.build;
  s.limb = 1 + 0.14F * person.build;
  for (int i = 0; i < 2; ++i) s.legs[static_cast<size_t>(i)] = make_leg(view, i, s.limb);
  const float lowest = std::min(s.legs[0].ankle.y, s.legs[1].ankle.y);
  s.pelvis = 0.045F - lowest;
  for (Leg& leg : s.legs) {
    for (Vec3* joint : {&leg.hip, &leg.knee, &leg.ankle, &leg.toe}) joint->y += s.pelvis;
    leg.toe.y = std::max(leg.toe.y, 0.018F);
  }
  const float shoulder_x = 0.1F * s.girth;
  const auto lift = [&](Vec3& p) {
    p.z += view.lean * (p.y - 0.5F);
    p.y += s.pelvis;
  };
  for (int i = 0; i < 2; ++i) {
    Arm& arm = s.arms[static_cast<size_t>(i)];
    arm = make_arm(person, view, i, shoulder_x);
    lift(arm.shoulder);
    lift(arm.elbow);
    lift(arm.wrist);
  }
  s.head = {0, 0.922F, 0.008F};
  lift(s.head);
  return s;
}

}  // namespace muster::synth
