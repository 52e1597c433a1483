// The synthetic scenes: coloured things on a ground, with the regions that a detector might find in them.
//
// Every picture, caption and region is a pure function of (seed, number). What a feature means does not depend on the
// seed: a thing's kind, colour and size each have a code of standard normal numbers; a region's features are the sum
// of its thing's codes over sqrt(3), plus kNoise times a normal number each. Regions of the ground have a code of their
// own in place of a thing's.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "dataloader/store.h"
#include "dataloader/synth/canvas.h"
#include "dataloader/synth/palette.h"
#include "dataloader/synth/synth.h"

namespace muster::synth {

enum class Shape { kBall, kBox, kTriangle, kStar, kRing, kCross, kDiamond };
constexpr int kShapes = 7;
constexpr float kNoise = 0.5F;
constexpr int kCaptionsPerScene = 5;

struct Thing {
  Shape shape = Shape::kBall;
  int colour = 0;  // of thing_colours()
  bool large = false;
  Vec2 centre;       // pixels
  float radius = 0;  // half of its box's side
};

struct ThingsScene {
  std::vector<Thing> things;  // 3 to 6, no two of one shape and colour, boxes apart
  float ground = 0, horizon = 0;
};

// The words of captions.
const std::vector<std::string>& thing_colours();
const std::vector<std::string>& thing_shapes();

ThingsScene make_scene(const Options& options, int64_t number);

// options.identities scenes of one picture, with 10 to 36 regions of `region_width` numbers: one to three for each
// thing, their boxes a little off, and the ground's.
class SceneSet {
 public:
  // ConfigError as Set; options.views is not 1; the width is not 1 to 65536.
  SceneSet(const Options& options, int64_t region_width);

  const Options& options() const { return options_; }
  int64_t images() const { return options_.identities; }
  Split split(int64_t image) const { return splits_[static_cast<size_t>(image)]; }
  StoreRecord record(int64_t image) const;
  // As Set::for_each().
  void for_each(int threads, const std::function<void(const StoreRecord&)>& sink) const;

 private:
  Options options_;
  int64_t region_width_;
  std::vector<Split> splits_;
};

}  // namespace muster::synth
