// Draws a person into a picture.
#pragma once

#include "dataloader/synth/canvas.h"
#include "dataloader/synth/cloth.h"
#include "dataloader/synth/skeleton.h"

namespace muster::synth {

// What every part of the figure is drawn with.
struct Stage {
  Canvas& canvas;
  const Person& person;
  const View& view;
  const Skeleton& body;
  const Projection& project;

  // A length in body heights as pixels.
  float px(float reach) const { return reach * project.unit(); }
  // The size of a pixel in body heights.
  float pixel() const { return 1.0F / project.unit(); }
};

void draw_person(Canvas& canvas, const Person& person, const View& view);

// The parts, in files of their own. Each may be called only in the order of draw_person().
void draw_leg(const Stage& stage, int index);
void draw_skirt(const Stage& stage);
void draw_arm(const Stage& stage, int index);
void draw_trunk(const Stage& stage);        // neck, upper garment, and the tail of a coat or dress
void draw_head(const Stage& stage);         // face, hair and what is worn on the head
void draw_hair_behind(const Stage& stage);  // the hair that hangs behind the trunk when the face is seen
void draw_scarf(const Stage& stage);
void draw_backpack(const Stage& stage);
void draw_hand_bag(const Stage& stage);  // handbag, shopping bag, shoulder bag
void draw_suitcase(const Stage& stage);
void draw_carried(const Stage& stage);

// Fills a segment of a limb, shaded as a cylinder; `surface` maps (across, up) in body heights, up from b to a, to a
// colour.
template <class Surface>
void fill_segment(const Stage& stage, Vec2 a, float radius_a, Vec2 b, float radius_b, const Surface& surface) {
  Path path;
  path.capsule(a, radius_a, b, radius_b);
  const float gap = std::max(length(a - b), 0.5F);
  const Vec2 up = (a - b) * (1 / gap);
  const float reach = std::max(radius_a, radius_b);
  const float light = stage.view.light_x;
  const float pixel = stage.pixel();
  stage.canvas.fill(path, [&](Vec2 p) {
    const Vec2 d = p - b;
    const float across = -(d.x * up.y - d.y * up.x);
    const float u = std::clamp(across / reach, -1.0F, 1.0F);
    return surface(across * pixel, (d.x * up.x + d.y * up.y) * pixel) * round_shade(u, light);
  });
}

}  // namespace muster::synth
