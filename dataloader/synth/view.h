// A view: pose, place, light and camera of one picture. A pure function of (seed, identity, view).
#pragma once

#include <cstdint>

#include "dataloader/synth/person.h"

namespace muster::synth {

enum class Place { kStreet, kBrickWall, kPlainWall, kPark, kShopFront, kIndoors, kCrossing, kStation };
constexpr int kPlaces = 8;

// What stands between the camera and the person, if anything.
enum class Occluder { kNone, kPole, kBin, kBush, kPasserBy, kRailing };

struct View {
  // Radians about the vertical: 0 faces the camera, pi/2 walks to the right of the picture, pi shows the back.
  float yaw = 0;
  bool walking = false;
  float phase = 0;    // of the step
  float stride = 0;   // largest angle of the thigh
  float arm_out = 0;  // how far the arms are held off the body
  float lean = 0;
  bool phone_at_ear = false;
  float head_yaw = 0;  // added to yaw

  float scale = 0.9F;              // the person's height over the picture's
  float shift_x = 0, shift_y = 0;  // of the middle of the person, in picture heights
  float roll = 0;
  float pitch = 0;  // looking down by this angle

  Place place = Place::kStreet;
  uint64_t scene = 0;    // seeds the scenery
  float horizon = 0.4F;  // where floor and wall meet, from the top

  float brightness = 1, contrast = 1;
  Colour cast;        // factor per channel
  float light_x = 0;  // where the light comes from: -1 left .. 1 right
  float haze = 0;     // veil of light over everything
  float shadow = 0;   // strength of the shadow on the ground
  float blur = 0, noise = 0;
  int jpeg_quality = 85;

  Occluder occluder = Occluder::kNone;
  float occluder_x = 0;  // 0..1 across the picture
};

// `index` counts the identity's views from 0; successive views look from clearly different sides.
View make_view(uint64_t seed, int64_t identity, int64_t index, const Person& person);

// What of the person can be seen; captions speak of nothing else.
struct Visible {
  bool face = false;   // eyes, glasses, beard, mask
  bool front = false;  // logo, open front
  bool back = false;
  bool shoes = false;
  bool bag = false;  // enough of it to name it
  bool carried = false;
};
Visible visible_parts(const Person& person, const View& view);

}  // namespace muster::synth
