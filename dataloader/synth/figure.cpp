#include "dataloader/synth/figure.h"

namespace muster::synth {
namespace {

void draw_shadow(const Stage& s) {
  const Vec2 left = s.project(s.body.legs[0].ankle), right = s.project(s.body.legs[1].ankle);
  const float y = std::max(left.y, right.y) + s.px(0.03F);
  const float x = (left.x + right.x) / 2;
  const float spread = std::abs(left.x - right.x) / 2;
  // Cast away from the light, and a darker blot right below the feet.
  s.canvas.soft_ellipse({x - s.view.light_x * s.px(0.16F), y - s.px(0.01F)}, s.px(0.24F), s.px(0.05F),
                        {0.05F, 0.05F, 0.08F}, s.view.shadow * 0.7F);
  s.canvas.soft_ellipse({x, y - s.px(0.005F)}, spread + s.px(0.1F), s.px(0.03F), {0.03F, 0.03F, 0.05F}, s.view.shadow);
}

bool arm_is_behind(const Stage& s, int index) {
  const Arm& arm = s.body.arms[static_cast<size_t>(index)];
  return s.project.depth(mix(arm.elbow, arm.wrist, 0.5F)) < -0.055F;
}

void draw_legs(const Stage& s) {
  const auto depth = [&](int i) {
    const Leg& leg = s.body.legs[static_cast<size_t>(i)];
    return s.project.depth(leg.knee) + s.project.depth(leg.hip);
  };
  const int far = depth(0) < depth(1) ? 0 : 1;
  draw_leg(s, far);
  draw_leg(s, 1 - far);
}

}  // namespace

void draw_person(Canvas& canvas, const Person& person, const View& view) {
  const Skeleton body = make_skeleton(person, view);
  const Projection project(view, canvas.width(), canvas.height());
  const Stage s{canvas, person, view, body, project};
  const bool faces_us = project.facing() > 0;
  const int bag_hand = side_index(person.bag_side), other_hand = 1 - bag_hand;
  const bool bag_far = project.depth({static_cast<float>(person.bag_side), 0, 0}) < -0.2F;

  draw_shadow(s);
  if (faces_us || bag_far) draw_suitcase(s);
  if (faces_us) draw_hair_behind(s);
  if (faces_us) draw_backpack(s);
  for (int i = 0; i < 2; ++i) {
    if (!arm_is_behind(s, i)) continue;
    if (i == other_hand) draw_carried(s);
    if (i == bag_hand) draw_hand_bag(s);
    draw_arm(s, i);
  }
  draw_legs(s);
  draw_skirt(s);
  draw_trunk(s);
  if (!faces_us) draw_backpack(s);
  if (!faces_us && !bag_far) draw_suitcase(s);
  draw_head(s);
  draw_scarf(s);
  for (int i = 0; i < 2; ++i) {
    if (arm_is_behind(s, i)) continue;
    if (i == bag_hand) draw_hand_bag(s);
    draw_arm(s, i);
    if (i == other_hand) draw_carried(s);
  }
}

}  // namespace muster::synth
