// Neck and upper garment. The trunk is a tube with elliptic sections; its texture lives on the tube, in azimuth (0 at
// the middle of the chest, positive to the person's left) and height, so that zips, logos and straps turn with the
// body.
#include <array>

#include "dataloader/synth/figure.h"

namespace muster::synth {
namespace {

struct Section {
  float y, half_breadth, half_depth;
};

// The bare trunk from the neck down. Garments add their slack.
constexpr std::array<Section, 8> kTrunk = {{{0.858F, 0.036F, 0.038F},
                                            {0.843F, 0.062F, 0.046F},
                                            {0.822F, 0.102F, 0.056F},
                                            {0.77F, 0.113F, 0.068F},
                                            {0.7F, 0.1F, 0.07F},
                                            {0.625F, 0.088F, 0.064F},
                                            {0.55F, 0.096F, 0.07F},
                                            {0.5F, 0.1F, 0.073F}}};

class Tube {
 public:
  Tube(const Stage& stage, float hem, float slack, float flare) : stage_(stage) {
    const float breadth = stage.body.girth, depth = stage.body.depth;
    const float c = stage.project.facing(), d = stage.project.sideways();
    for (const Section& s : kTrunk) {
      if (s.y < hem) break;
      const float wide = s.half_breadth * breadth + slack, deep = s.half_depth * depth + slack;
      add(s.y, std::sqrt(wide * wide * c * c + deep * deep * d * d));
    }
    const float last = half_.back();
    if (hem < 0.49F)
      add(hem, std::max(last + flare, legs_reach(hem) + 0.02F));
    else
      add(hem, last);
  }

  void fill(float top, const std::vector<Vec2>& neckline, Colour (*texture)(const Stage&, float, float),
            float shine) const;
  float half_at(float y) const {
    size_t i = 0;
    while (i + 2 < y_.size() && y < y_[i + 1]) ++i;
    const float t = std::clamp((y_[i] - y) / (y_[i] - y_[i + 1]), 0.0F, 1.0F);
    return half_[i] + (half_[i + 1] - half_[i]) * t;
  }
  float middle_at(float y) const { return stage_.view.lean * (y - 0.5F) * stage_.project.sideways(); }

 private:
  void add(float y, float half) {
    y_.push_back(y);
    half_.push_back(half);
  }
  float legs_reach(float hem) const {
    float reach = 0;
    for (const Leg& leg : stage_.body.legs) {
      const float t = std::clamp((leg.hip.y - hem) / std::max(leg.hip.y - leg.knee.y, 0.05F), 0.0F, 1.1F);
      reach = std::max(reach, std::abs(stage_.project.plane(stage_.project(mix(leg.hip, leg.knee, t))).x) + 0.03F);
    }
    return reach;
  }

  const Stage& stage_;
  std::vector<float> y_, half_;
};

void Tube::fill(float top, const std::vector<Vec2>& neckline, Colour (*texture)(const Stage&, float, float),
                float shine) const {
  const float lift = stage_.body.pelvis;
  std::vector<Vec2> outline;
  for (size_t i = 0; i < y_.size(); ++i) {
    if (y_[i] > top) continue;
    outline.push_back(stage_.project.from_plane({middle_at(y_[i]) + half_[i], y_[i] + lift}));
  }
  for (size_t i = y_.size(); i-- > 0;) {
    if (y_[i] > top) continue;
    outline.push_back(stage_.project.from_plane({middle_at(y_[i]) - half_[i], y_[i] + lift}));
  }
  for (const Vec2 p : neckline) outline.push_back(stage_.project.from_plane({p.x + middle_at(p.y), p.y + lift}));
  Path path;
  path.smooth(outline);
  const float yaw = stage_.project.yaw();
  stage_.canvas.fill(path, [&](Vec2 pixel) {
    const Vec2 at = stage_.project.plane(pixel);
    const float y = at.y - lift;
    const float u = std::clamp((at.x - middle_at(y)) / half_at(y), -0.99F, 0.99F);
    float azimuth = std::asin(u) - yaw;
    if (azimuth < -kPi) azimuth += 2 * kPi;
    if (azimuth > kPi) azimuth -= 2 * kPi;
    return texture(stage_, azimuth, y) * (round_shade(u, stage_.view.light_x) * shine);
  });
}

Colour logo_over(const Stage& s, Colour cloth, float azimuth, float y) {
  const Colour ink = s.person.second_dye.shade;
  const float soft = s.pixel(), x = azimuth * 0.1F;
  // One of three motifs: a disc, a block of lines, a chest band.
  const int motif = static_cast<int>(s.person.second_dye.dye) % 3;
  if (motif == 0) {
    const float r = std::sqrt(x * x + (y - 0.725F) * (y - 0.725F));
    return mix(ink, cloth, step_at(r, 0.036F, soft));
  }
  if (motif == 1) {
    const float lines = std::max(band(y, 0.735F, 0.757F, soft), band(y, 0.7F, 0.72F, soft));
    return mix(cloth, ink, lines * band(x, -0.05F, 0.05F, soft));
  }
  return mix(cloth, ink, band(y, 0.7F, 0.752F, soft) * band(x, -0.042F, 0.042F, soft));
}

// What a jacket, coat, vest or shirt shows down its middle.
Colour opening_over(const Stage& s, Colour cloth, float azimuth, float y) {
  const Person& p = s.person;
  const float soft = s.pixel() * 10;  // a pixel of the chest in radians
  if (p.open_front) {
    const float gap = 0.2F + 0.55F * std::max(0.0F, 0.8F - y);
    const bool below = y < 0.525F;
    const Colour inside = below ? p.lower_dye.shade * 0.8F : p.inner_dye.shade;
    const Colour lapel = mix(cloth * 0.72F, inside, 1 - step_at(std::abs(azimuth), gap, soft));
    return mix(lapel, cloth, step_at(std::abs(azimuth), gap + 0.13F, soft));
  }
  if (p.upper == Upper::kJacket || p.upper == Upper::kVest || p.upper == Upper::kCoat || p.upper == Upper::kShirt) {
    const bool shirt = p.upper == Upper::kShirt;
    const Colour seam = luminance(cloth) > 0.25F ? cloth * 0.55F : cloth + Colour{0.16F, 0.16F, 0.16F};
    cloth = mix(cloth, seam, (shirt ? 0.5F : 0.85F) * band(azimuth, -0.05F, 0.05F, soft));
    if (p.upper == Upper::kCoat) {  // two rows of buttons
      const float t = y / 0.07F - std::floor(y / 0.07F);
      const float row = band(t, 0.3F, 0.65F, 0.25F) * band(y, 0.48F, 0.76F, 0.02F);
      cloth = mix(cloth, seam, row * band(std::abs(azimuth), 0.24F, 0.42F, soft));
    }
  }
  return cloth;
}

Colour straps_over(const Stage& s, Colour cloth, float azimuth, float y) {
  const Person& p = s.person;
  const float soft = s.pixel() * 10;
  if (p.bag == Bag::kBackpack) {
    const float at = std::abs(azimuth) - 0.68F;
    return mix(cloth, p.bag_dye.shade * 0.9F, band(at, -0.15F, 0.15F, soft) * step_at(y, 0.66F, s.pixel()));
  }
  if (p.bag == Bag::kShoulderBag) {
    // From the far shoulder across chest and back to the hip on the bag's side.
    const float side = static_cast<float>(p.bag_side);
    const float turn =
        std::abs(azimuth) > kPi / 2 ? side * (kPi - std::abs(azimuth)) * (azimuth > 0 ? 1.0F : -1.0F) : side * azimuth;
    const float line = -0.75F + (0.83F - y) * 7.0F;
    return mix(cloth, p.bag_dye.shade * 0.85F, band(turn - line, -0.17F, 0.17F, soft) * step_at(y, 0.54F, s.pixel()));
  }
  return cloth;
}

Colour upper_texture(const Stage& s, float azimuth, float y) {
  const Person& p = s.person;
  const bool vertical = p.upper == Upper::kShirt;
  const Fabric fabric{p.pattern, p.upper_dye.shade, p.second_dye.shade, vertical};
  const float across = azimuth * 0.1F;
  const float soft = s.pixel();
  Colour c = fabric_at(fabric, across, y, soft);
  if (p.pattern == Pattern::kLogo) c = logo_over(s, c, azimuth, y);
  c = opening_over(s, c, azimuth, y);
  if (p.upper == Upper::kHoodie) {
    // Pouch and drawstrings.
    const float pouch = band(y, 0.5F, 0.6F, soft) * band(azimuth, -0.75F, 0.75F, 0.1F);
    c = c * (1 - 0.15F * pouch);
    c = mix(c, {0.9F, 0.9F, 0.9F}, 0.8F * band(y, 0.76F, 0.82F, soft) * band(std::abs(azimuth), 0.13F, 0.25F, 0.1F));
  }
  if (p.upper == Upper::kVest) {  // quilted
    const float t = y / 0.05F - std::floor(y / 0.05F);
    c = c * (1 - 0.22F * band(t, 0.4F, 0.6F, 0.3F));
  }
  const bool ribbed = p.upper == Upper::kHoodie || p.upper == Upper::kSweater;
  if (ribbed) c = c * (1 - 0.22F * (1 - step_at(y, 0.49F, soft)));
  if (p.upper == Upper::kDress) c = c * (1 - 0.25F * band(y, 0.605F, 0.62F, soft));
  return straps_over(s, c * folds(across, y), azimuth, y);
}

Colour hips_texture(const Stage& s, float azimuth, float y) {
  const Colour cloth = s.person.lower_dye.shade;
  if (!s.person.belt) return cloth;
  const Colour belt = luminance(cloth) > 0.2F ? Colour{0.13F, 0.09F, 0.07F} : Colour{0.4F, 0.3F, 0.2F};
  const Colour buckle = mix(belt, {0.8F, 0.78F, 0.7F}, band(azimuth, -0.14F, 0.14F, 0.1F));
  return mix(cloth, buckle, band(y, 0.562F, 0.585F, s.pixel()));
}

void draw_neck(const Stage& s) {
  const Vec2 top = s.project(s.body.head + Vec3{0, -0.03F, -0.01F});
  const Vec2 bottom = s.project({0, 0.82F + s.body.pelvis, s.view.lean * 0.32F});
  Path path;
  path.capsule(top, s.px(0.033F * s.body.limb), bottom, s.px(0.04F * s.body.limb));
  s.canvas.fill(path, s.person.skin * 0.86F);
}

float hem_of(const Person& p) {
  switch (p.upper) {
    case Upper::kTShirt:
    case Upper::kSweater:
    case Upper::kTankTop:
    case Upper::kShirt:
      return p.belt && !p.open_front ? 0.575F : 0.475F;
    case Upper::kJacket:
      return 0.47F;
    case Upper::kCoat:
      return 0.29F;
    case Upper::kHoodie:
      return 0.46F;
    case Upper::kVest:
      return 0.49F;
    case Upper::kDress:
      return 0.31F;
  }
  return 0.5F;
}

void draw_collar(const Stage& s) {
  const Person& p = s.person;
  const bool has_collar = p.upper == Upper::kShirt || p.upper == Upper::kJacket || p.upper == Upper::kCoat;
  if (!has_collar && p.upper != Upper::kHoodie) return;
  const Colour c = p.upper_dye.shade;
  const Colour cloth = luminance(c) > 0.2F ? c * 0.82F : c + Colour{0.07F, 0.07F, 0.07F};
  const bool hood = p.upper == Upper::kHoodie;
  const Vec2 at = s.project({0, 0.846F + s.body.pelvis, s.view.lean * 0.34F + (hood ? -0.03F : 0)});
  Path path;
  if (hood && p.headwear != Headwear::kHood) {
    const bool back = s.project.facing() < 0;
    path.ellipse(at + Vec2{0, back ? s.px(0.022F) : 0}, s.px(0.068F), s.px(back ? 0.042F : 0.024F));
    s.canvas.fill(path, cloth);
    return;
  }
  if (s.project.facing() < 0) {
    path.box(at, s.px(0.042F), s.px(0.018F), s.view.roll, 0.6F);
    s.canvas.fill(path, cloth);
    return;
  }
  // Two flaps that leave a wedge of skin or of the inner shirt at the throat.
  const float turn = s.project.sideways() * 0.03F;
  const Vec2 throat =
      s.project({turn * s.project.facing(), 0.8F + s.body.pelvis, 0.03F * std::abs(s.project.sideways())});
  for (const float side : {-1.0F, 1.0F}) {
    Path flap;
    flap.polygon({at + Vec2{side * s.px(0.044F), -s.px(0.016F)}, at + Vec2{side * s.px(0.05F), s.px(0.014F)},
                  throat + Vec2{side * s.px(0.012F), s.px(0.004F)}, at + Vec2{side * s.px(0.022F), s.px(0.002F)}});
    s.canvas.fill(flap, cloth);
  }
}

}  // namespace

void draw_trunk(const Stage& s) {
  const Person& p = s.person;
  draw_neck(s);
  if (p.lower != Lower::kNone && p.lower != Lower::kSkirt && p.lower != Lower::kLongSkirt) {
    Tube(s, 0.5F, 0.002F, 0).fill(0.64F, {}, hips_texture, 0.97F);
  }
  const bool bulky = p.upper == Upper::kJacket || p.upper == Upper::kCoat || p.upper == Upper::kHoodie;
  const float slack = bulky ? 0.011F : p.upper == Upper::kVest ? 0.009F : p.upper == Upper::kSweater ? 0.007F : 0.003F;
  const float flare = p.upper == Upper::kCoat ? 0.03F : p.upper == Upper::kDress ? 0.045F : 0.004F;
  // The neckline dips at the front; deeper for tops without a collar.
  const bool low = p.upper == Upper::kTankTop || p.upper == Upper::kDress;
  const float dip = (low ? 0.05F : 0.022F) * std::max(0.0F, s.project.facing());
  const float throat = 0.03F * s.project.sideways();
  std::vector<Vec2> neckline = {{-0.034F, 0.862F}, {throat, 0.858F - dip}, {0.034F, 0.862F}};
  Tube(s, hem_of(p), slack, flare).fill(0.859F, neckline, upper_texture, 1.0F);
  draw_collar(s);
}

}  // namespace muster::synth
