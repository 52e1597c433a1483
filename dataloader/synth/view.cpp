#include "dataloader/synth/view.h"

#include "dataloader/synth/dice.h"

namespace muster::synth {
namespace {

float wrapped(float angle) {
  return angle - 2 * kPi * std::round(angle / (2 * kPi));
}

void make_pose(Dice& dice, View& v, const Person& person) {
  v.walking = dice.chance(0.68F);
  v.phase = dice.uniform(0, 2 * kPi);
  v.stride = v.walking ? dice.uniform(0.3F, 0.52F) : dice.uniform(0.02F, 0.1F);
  v.arm_out = dice.uniform(0.05F, 0.2F);
  v.lean = v.walking ? dice.uniform(0.0F, 0.1F) : dice.uniform(-0.03F, 0.03F);
  v.phone_at_ear = person.carried == Carried::kPhone && dice.chance(0.45F);
  const bool looks_aside = dice.chance(0.3F);
  v.head_yaw = looks_aside ? dice.uniform(-0.6F, 0.6F) : dice.uniform(-0.12F, 0.12F);
}

void make_camera(Dice& dice, View& v, const Person& person) {
  v.scale = dice.uniform(0.83F, 0.95F) * std::sqrt(person.height);
  if (person.carried == Carried::kUmbrella) v.scale *= 0.85F;
  if (person.headwear == Headwear::kBeanie || person.headwear == Headwear::kBrimmedHat) v.scale *= 0.97F;
  if (person.bag == Bag::kSuitcase) v.scale *= 0.95F;
  v.shift_x = dice.uniform(-0.035F, 0.035F);
  const float spare = std::max(1.0F - v.scale, 0.02F);
  v.shift_y = dice.uniform(-0.35F, 0.35F) * spare + (person.carried == Carried::kUmbrella ? 0.06F : 0.0F);
  if (dice.chance(0.06F)) v.shift_y += 0.1F;  // a detector's box that misses the feet
  v.roll = dice.uniform(-0.045F, 0.045F);
  v.pitch = dice.uniform(0.06F, 0.34F);
  v.blur = dice.chance(0.45F) ? dice.uniform(0.02F, 0.2F) : 0.0F;
  v.noise = dice.uniform(0.004F, 0.024F);
  v.jpeg_quality = 62 + dice.below(34);
}

void make_light(Dice& dice, View& v) {
  v.brightness = dice.uniform(0.72F, 1.18F);
  v.contrast = dice.uniform(0.85F, 1.15F);
  const float warm = dice.uniform(-0.07F, 0.08F), green = dice.uniform(-0.025F, 0.025F);
  v.cast = {1 + warm, 1 + green, 1 - warm};
  v.light_x = dice.uniform(-1, 1);
  v.haze = dice.chance(0.25F) ? dice.uniform(0.02F, 0.1F) : 0.0F;
  v.shadow = dice.uniform(0.2F, 0.6F);
}

}  // namespace

View make_view(uint64_t seed, int64_t identity, int64_t index, const Person& person) {
  Dice own(seed, static_cast<uint64_t>(identity), Stream::kPersonViews);
  const float first_side = own.uniform(0, 2 * kPi);
  const int first_place = own.below(kPlaces);

  Dice dice(seed, view_position(identity, index), Stream::kView);
  View v;
  // 137.5 degrees: the angle that spreads any number of views evenly.
  v.yaw = wrapped(first_side + 2.39996F * static_cast<float>(index % 4096) + dice.uniform(-0.35F, 0.35F));
  v.place = static_cast<Place>((first_place + 3 * static_cast<int>(index % kPlaces) + dice.below(3)) % kPlaces);
  v.scene = dice.bits();
  v.horizon = dice.uniform(0.34F, 0.6F);
  make_pose(dice, v, person);
  make_camera(dice, v, person);
  make_light(dice, v);
  // none pole bin bush passer-by railing
  v.occluder = dice.choose<Occluder>({30, 1, 1, 1, 1, 1});
  v.occluder_x = dice.chance(0.5F) ? dice.uniform(0.05F, 0.3F) : dice.uniform(0.7F, 0.95F);
  return v;
}

Visible visible_parts(const Person& person, const View& view) {
  const float facing = std::cos(view.yaw), head_facing = std::cos(view.yaw + view.head_yaw);
  Visible seen;
  seen.face = head_facing > -0.1F;
  seen.front = facing > 0.15F;
  seen.back = facing < -0.15F;
  const float feet = 0.5F + view.shift_y + view.scale / 2;
  const bool low_occluder =
      view.occluder == Occluder::kBin || view.occluder == Occluder::kBush || view.occluder == Occluder::kRailing;
  seen.shoes = feet < 1.03F && !low_occluder;
  seen.bag = person.bag == Bag::kBackpack ? facing < 0.35F : !(low_occluder && person.bag == Bag::kSuitcase);
  // A hand on the far side of the body is hidden in a side view.
  const float hand_depth = static_cast<float>(person.bag_side) * std::sin(view.yaw);
  seen.carried = person.carried == Carried::kUmbrella || (facing > -0.3F && hand_depth > -0.75F);
  if (person.bag == Bag::kHandbag || person.bag == Bag::kShoulderBag || person.bag == Bag::kShoppingBag) {
    seen.bag = hand_depth < 0.8F;
  }
  return seen;
}

}  // namespace muster::synth
