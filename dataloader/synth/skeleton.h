// A body in space: proportions, joints in a pose, and their place in the picture.
#pragma once

#include <array>

#include "dataloader/synth/view.h"

namespace muster::synth {

// Body space: x to the person's left, y up from the ground, z to where the person faces; the person is about 1 high.
struct Vec3 {
  float x = 0, y = 0, z = 0;
};
inline Vec3 operator+(Vec3 a, Vec3 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z};
}
inline Vec3 operator*(Vec3 a, float k) {
  return {a.x * k, a.y * k, a.z * k};
}
inline Vec3 mix(Vec3 a, Vec3 b, float t) {
  return a * (1 - t) + b * t;
}

// Orthographic: turn by yaw, look down by pitch, roll, scale, shift.
class Projection {
 public:
  Projection(const View& view, int width, int height);
  Vec2 operator()(Vec3 p) const;
  float depth(Vec3 p) const { return p.z * cos_ - p.x * sin_; }  // larger is nearer to the camera
  float unit() const { return unit_; }                           // pixels per body height
  float yaw() const { return yaw_; }
  // +1 when the person faces the camera, -1 when the back is seen.
  float facing() const { return cos_; }
  // +1 when the person faces the right side of the picture.
  float sideways() const { return sin_; }
  // From a pixel to picture-plane coordinates round the body's axis: x right, y up, in body heights.
  Vec2 plane(Vec2 pixel) const;
  Vec2 from_plane(Vec2 p) const;

 private:
  float yaw_, cos_, sin_, pitch_cos_, pitch_sin_, roll_cos_, roll_sin_, unit_;
  Vec2 ground_;  // where the body's axis meets the ground, in pixels
};

struct Arm {
  Vec3 shoulder, elbow, wrist;
};
struct Leg {
  Vec3 hip, knee, ankle, toe;
};

// Index 0 is the left limb, 1 the right one.
struct Skeleton {
  std::array<Arm, 2> arms;
  std::array<Leg, 2> legs;
  Vec3 head;         // centre of the skull
  float pelvis = 0;  // how much the walk lowers everything above the legs
  float girth = 1;   // factor of breadth
  float depth = 1;   // factor of depth
  float limb = 1;    // factor of the limbs' radii
};

inline int side_index(int side) {
  return side > 0 ? 0 : 1;
}
inline float side_sign(int index) {
  return index == 0 ? 1.0F : -1.0F;
}

Skeleton make_skeleton(const Person& person, const View& view);

}  // namespace muster::synth
