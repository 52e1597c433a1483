// The head: face, hair and what is worn on it. The skull is a ball with the face on its front: whatever lies at an
// azimuth of the face is drawn at the sine of azimuth plus yaw, and left out where the cosine says it looks away.
#pragma once

#include "dataloader/synth/figure.h"

namespace muster::synth {

class Head {
 public:
  explicit Head(const Stage& stage)
      : s_(stage),
        p_(stage.person),
        yaw_(stage.project.yaw() + stage.view.head_yaw),
        centre_(stage.project(stage.body.head)) {
    const float side = std::abs(std::sin(yaw_));
    rx_ = s_.px((0.053F + 0.009F * side) * p_.head);
    ry_ = s_.px(0.07F * p_.head);
  }

  float facing() const { return std::cos(yaw_); }
  float sideways() const { return std::sin(yaw_); }
  // The picture's point at x and y in half breadths and half heights of the skull, y up.
  Vec2 at(float x, float y) const { return {centre_.x + x * rx_, centre_.y - y * ry_}; }
  // The same at an azimuth of the head.
  Vec2 on(float azimuth, float y) const { return at(std::sin(azimuth + yaw_), y); }
  bool sees(float azimuth, float limit = 1.35F) const { return std::cos(azimuth + yaw_) > std::cos(limit); }
  // The left and right ends, in half breadths, of what reaches this angle to both sides of the nose; false if it all
  // looks away.
  bool span(float half_angle, float* left, float* right) const;

  void skull() const;
  void face() const;
  void hair_over() const;
  void hair_behind() const;
  void headwear() const;

 private:
  void features() const;
  void eyes() const;
  void hair_of_long_styles() const;
  void ponytail() const;
  void bun() const;
  void curls(float spread) const;
  void strands(float bottom, float breadth) const;
  bool covered() const { return p_.headwear != Headwear::kNone; }
  bool hooded() const { return p_.headwear == Headwear::kHood; }
  void cap() const;
  void beanie() const;
  void brimmed_hat() const;
  void headphones() const;
  Colour hat_cloth(Vec2 pixel) const;
  void hood() const;

  const Stage& s_;
  const Person& p_;
  float yaw_;
  Vec2 centre_;
  float rx_, ry_;
};

}  // namespace muster::synth
