#include "dataloader/synth/dice.h"
#include "dataloader/synth/scene.h"

namespace muster::synth {

void draw_occluder(Canvas& canvas, const View& view) {
  if (view.occluder == Occluder::kNone) return;
  Dice dice(view.scene, 1, Stream::kScene);
  const float w = static_cast<float>(canvas.width()), h = static_cast<float>(canvas.height());
  const float x = view.occluder_x * w;
  const Colour dark = Colour{1, 1, 1} * dice.uniform(0.1F, 0.35F);
  Path path, second;
  switch (view.occluder) {
    case Occluder::kNone:
      return;
    case Occluder::kPole:
      path.rectangle(x - w * 0.06F, 0, x + w * 0.06F, h);
      canvas.fill(path, [&](Vec2 p) { return dark * (1.3F - std::abs(p.x - x) / (w * 0.08F)); });
      return;
    case Occluder::kBin:
      path.box({x, h * 0.95F}, w * 0.26F, h * 0.17F, 0, 0.2F);
      canvas.fill(path, shade_of(static_cast<Dye>(dice.below(kDyes))) * 0.6F);
      second.box({x, h * 0.8F}, w * 0.29F, h * 0.025F, 0, 0.3F);
      canvas.fill(second, dark);
      return;
    case Occluder::kBush:
      for (int i = 0; i < 10; ++i) {
        path.ellipse({x + dice.uniform(-0.4F, 0.4F) * w, h * dice.uniform(0.86F, 1.05F)}, w * 0.15F, h * 0.07F);
      }
      canvas.fill(path, [&](Vec2 p) {
        return Colour{0.2F, 0.37F, 0.15F} * (1 + 0.25F * std::sin(p.x * 30 / w + std::sin(p.y * 37 / w) * 2));
      });
      return;
    case Occluder::kPasserBy: {
      const float side = view.occluder_x < 0.5F ? -0.06F : 1.06F;
      path.capsule({side * w, h * 0.45F}, w * 0.17F, {side * w, h * 1.05F}, w * 0.2F);
      canvas.fill(path, shade_of(static_cast<Dye>(dice.below(kDyes))) * 0.75F);
      second.ellipse({side * w, h * 0.25F}, w * 0.11F, h * 0.08F);
      canvas.fill(second, shade_of(static_cast<HairColour>(dice.below(kHairColours))));
      return;
    }
    case Occluder::kRailing:
      for (const float y : {0.8F, 0.92F}) path.rectangle(0, h * y, w, h * (y + 0.022F));
      for (float at = w * dice.uniform(0, 0.3F); at < w; at += w * 0.3F)
        path.rectangle(at, h * 0.79F, at + w * 0.04F, h);
      canvas.fill(path, dark);
      return;
  }
}

}  // namespace muster::synth
