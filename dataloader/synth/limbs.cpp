// Legs, skirts and arms.
#include "dataloader/synth/figure.h"

namespace muster::synth {
namespace {

// Radii of a leg's garment at hip, knee and ankle, beyond the leg itself.
struct Slack {
  float hip, knee, ankle;
};

Slack slack_of(Lower lower) {
  switch (lower) {
    case Lower::kTrousers:
      return {0.006F, 0.012F, 0.018F};
    case Lower::kJeans:
      return {0.004F, 0.006F, 0.009F};
    case Lower::kShorts:
      return {0.014F, 0.02F, 0};
    case Lower::kLeggings:
      return {0.001F, 0.001F, 0.002F};
    case Lower::kSkirt:
    case Lower::kLongSkirt:
    case Lower::kNone:
      return {0, 0, 0};
  }
  return {0, 0, 0};
}

bool covers_legs(Lower lower) {
  return lower == Lower::kTrousers || lower == Lower::kJeans || lower == Lower::kLeggings;
}

// The nearer limb stands out from what is behind it by a thin dark rim.
void rim(const Stage& s, Vec2 a, float ra, Vec2 b, float rb) {
  const float extra = s.px(0.008F);
  Path path;
  path.capsule(a, ra + extra, b, rb + extra);
  s.canvas.fill(path, {0.05F, 0.05F, 0.06F}, 0.22F);
}

void draw_foot(const Stage& s, const Leg& leg) {
  const Person& p = s.person;
  const Vec2 heel = s.project(leg.ankle + Vec3{0, -0.02F, -0.018F}), toe = s.project(leg.toe);
  const Vec2 ankle = s.project(leg.ankle), knee = s.project(leg.knee);
  const Colour colour = p.shoes_dye.shade;
  const float r = s.px(0.0265F * s.body.limb);
  const auto plain = [&](Colour c) { return [c](float, float) { return c; }; };
  if (p.shoes == Shoes::kBoots) {
    const Vec2 shaft = mix(ankle, knee, 0.42F);
    fill_segment(s, shaft, s.px(0.043F * s.body.limb), ankle, s.px(0.034F * s.body.limb), plain(colour));
  }
  Path sole;
  sole.capsule(heel + Vec2{0, r * 0.35F}, r * 1.02F, toe + Vec2{0, r * 0.35F}, r * 0.86F);
  const bool sneaker = p.shoes == Shoes::kSneakers;
  const bool white_sole = sneaker && luminance(colour) < 0.75F;
  s.canvas.fill(sole, white_sole ? Colour{0.9F, 0.9F, 0.88F} : colour * (sneaker ? 0.8F : 0.45F));
  if (p.shoes == Shoes::kSandals) {
    fill_segment(s, heel, r * 0.9F, toe, r * 0.72F, plain(p.skin));
    Path straps;
    straps.stroke(mix(heel, toe, 0.75F) + Vec2{-r * 0.8F, 0}, mix(heel, toe, 0.75F) + Vec2{r * 0.8F, 0}, r * 0.5F);
    straps.stroke(heel + Vec2{-r * 0.8F, -r * 0.2F}, heel + Vec2{r * 0.8F, -r * 0.2F}, r * 0.45F);
    s.canvas.fill(straps, colour);
    return;
  }
  fill_segment(s, heel, r, toe, r * 0.82F, plain(colour));
  if (sneaker) {
    Path laces;
    laces.stroke(mix(heel, toe, 0.55F) + Vec2{0, -r * 0.55F}, mix(heel, toe, 0.7F) + Vec2{0, -r * 0.35F}, r * 0.4F);
    s.canvas.fill(laces, luminance(colour) > 0.6F ? colour * 0.7F : Colour{0.92F, 0.92F, 0.92F}, 0.8F);
  }
}

Colour leg_colour(const Stage& s, float across, float up) {
  const Person& p = s.person;
  Colour c = p.lower_dye.shade * folds(across * 0.6F, up + 0.3F);
  if (p.lower == Lower::kJeans) {
    // Worn denim is paler down the middle of the thigh, and has a seam.
    c = mix(c, {0.75F, 0.8F, 0.88F}, 0.16F * std::max(0.0F, 1 - std::abs(across) * 45));
  }
  if (p.lower == Lower::kTrousers) c = c * (1 + 0.1F * band(across, -0.004F, 0.004F, s.pixel()));
  return c;
}

}  // namespace

void draw_leg(const Stage& s, int index) {
  const Person& p = s.person;
  const Leg& leg = s.body.legs[static_cast<size_t>(index)];
  const Vec2 hip = s.project(leg.hip), knee = s.project(leg.knee), ankle = s.project(leg.ankle);
  const float k = s.body.limb;
  const float r_hip = 0.058F * k, r_knee = 0.04F * k, r_ankle = 0.027F * k;
  const Colour skin = p.skin;
  const auto bare = [skin](float, float) { return skin; };
  const auto cloth = [&s](float across, float up) { return leg_colour(s, across, up); };
  const Slack slack = slack_of(p.lower);
  rim(s, knee, s.px(r_knee + slack.knee), ankle, s.px(r_ankle + slack.ankle));
  const bool over_shoe = p.shoes != Shoes::kBoots;
  if (!covers_legs(p.lower)) {
    fill_segment(s, hip, s.px(r_hip), knee, s.px(r_knee), bare);
    fill_segment(s, knee, s.px(r_knee), ankle, s.px(r_ankle), bare);
    if (p.shoes == Shoes::kSneakers) {
      Path sock;
      sock.capsule(mix(ankle, knee, 0.2F), s.px(r_ankle * 1.1F), ankle, s.px(r_ankle * 1.05F));
      s.canvas.fill(sock, {0.9F, 0.9F, 0.9F});
    }
    draw_foot(s, leg);
  } else {
    if (over_shoe) draw_foot(s, leg);
    fill_segment(s, knee, s.px(r_knee + slack.knee), mix(knee, ankle, 0.93F), s.px(r_ankle + slack.ankle), cloth);
    fill_segment(s, hip, s.px(r_hip + slack.hip), knee, s.px(r_knee + slack.knee), cloth);
    if (!over_shoe) draw_foot(s, leg);
  }
  if (p.lower == Lower::kShorts) {
    fill_segment(s, hip, s.px(r_hip + slack.hip), mix(hip, knee, 0.8F), s.px(r_knee + slack.knee), cloth);
  }
}

void draw_skirt(const Stage& s) {
  const Person& p = s.person;
  if (p.lower != Lower::kSkirt && p.lower != Lower::kLongSkirt) return;
  const bool is_long = p.lower == Lower::kLongSkirt;
  const float hem = (is_long ? 0.13F : 0.31F) + s.body.pelvis, waist = 0.6F + s.body.pelvis;
  // As wide as the legs beneath need.
  float left = 1, right = -1;
  for (const Leg& leg : s.body.legs) {
    const Vec3 at = is_long ? mix(leg.knee, leg.ankle, 0.65F) : mix(leg.hip, leg.knee, 0.9F);
    const float x = s.project.plane(s.project(at)).x;
    left = std::min(left, x - 0.055F);
    right = std::max(right, x + 0.055F);
  }
  const float flare = is_long ? 0.105F : 0.125F;
  left = std::min(left, -flare * s.body.girth);
  right = std::max(right, flare * s.body.girth);
  const float w = 0.08F * s.body.girth;
  Path path;
  path.smooth({s.project.from_plane({-w, waist}), s.project.from_plane({w, waist}),
               s.project.from_plane({w * 1.3F, waist - 0.1F}), s.project.from_plane({right, hem}),
               s.project.from_plane({(left + right) / 2, hem - 0.012F}), s.project.from_plane({left, hem}),
               s.project.from_plane({-w * 1.3F, waist - 0.1F})},
              1);
  s.canvas.fill(path, [&](Vec2 pixel) {
    const Vec2 at = s.project.plane(pixel);
    const float down = std::clamp((waist - at.y) / (waist - hem), 0.0F, 1.0F);
    const float half = w + ((right - left) / 2 - w) * down, middle = (left + right) / 2 * down;
    const float u = std::clamp((at.x - middle) / half, -1.0F, 1.0F);
    const float pleat = 1 + 0.1F * down * std::sin(u * 17);
    return p.lower_dye.shade * (round_shade(u, s.view.light_x) * pleat);
  });
}

void draw_arm(const Stage& s, int index) {
  const Person& p = s.person;
  const Arm& arm = s.body.arms[static_cast<size_t>(index)];
  const Vec2 shoulder = s.project(arm.shoulder), elbow = s.project(arm.elbow), wrist = s.project(arm.wrist);
  const float k = s.body.limb;
  const bool bulky = p.upper == Upper::kCoat || p.upper == Upper::kJacket || p.upper == Upper::kHoodie;
  const float extra = bulky ? 0.008F : p.upper == Upper::kSweater ? 0.005F : 0.003F;
  const float r_shoulder = 0.034F * k, r_elbow = 0.0265F * k, r_wrist = 0.019F * k;
  const bool vest = p.upper == Upper::kVest;
  const Fabric fabric{vest ? Pattern::kPlain : p.pattern, vest ? p.inner_dye.shade : p.upper_dye.shade,
                      p.second_dye.shade, false};
  const Colour skin = p.skin;
  const auto bare = [skin](float, float) { return skin; };
  // `height` is where the segment's lower end hangs on the body, so that patterns meet those of the trunk.
  const auto sleeve = [&](float height) {
    return [&s, &fabric, height](float across, float up) {
      return fabric_at(fabric, across, up + height, s.pixel()) * folds(across, up + height);
    };
  };
  const Vec2 hand = wrist + (wrist - elbow) * (0.03F * s.project.unit() / std::max(length(wrist - elbow), s.px(0.03F)));
  rim(s, mix(shoulder, elbow, 0.35F), s.px(r_shoulder * 0.9F + extra), elbow, s.px(r_elbow + extra));
  rim(s, elbow, s.px(r_elbow + extra), wrist, s.px(r_wrist + extra));
  fill_segment(s, wrist, s.px(0.02F * k), hand, s.px(0.019F * k), bare);
  if (p.long_sleeves) {
    fill_segment(s, elbow, s.px(r_elbow + extra), wrist, s.px(r_wrist + extra + 0.004F), sleeve(0.5F));
    fill_segment(s, shoulder, s.px(r_shoulder + extra), elbow, s.px(r_elbow + extra), sleeve(0.65F));
    if (p.upper == Upper::kSweater || p.upper == Upper::kHoodie) {
      Path cuff;
      cuff.capsule(mix(wrist, elbow, 0.1F), s.px(r_wrist + extra + 0.003F), wrist, s.px(r_wrist + extra + 0.002F));
      s.canvas.fill(cuff, fabric.base * 0.75F, 0.8F);
    }
    return;
  }
  fill_segment(s, elbow, s.px(r_elbow), wrist, s.px(r_wrist), bare);
  fill_segment(s, shoulder, s.px(r_shoulder), elbow, s.px(r_elbow), bare);
  if (p.upper == Upper::kTankTop) return;
  fill_segment(s, shoulder, s.px(r_shoulder + 0.006F), mix(shoulder, elbow, 0.62F), s.px(r_elbow + 0.013F),
               sleeve(0.7F));
}

}  // namespace muster::synth
