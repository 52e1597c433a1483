// The synthetic scenes: what captions and regions say is what is drawn.
#include "dataloader/synth/things_scene.h"

#include <c10/util/Half.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "dataloader/image.h"
#include "launch/error.h"

namespace muster::synth {
namespace {

Options options(int64_t scenes, uint64_t seed = 3) {
  Options o;
  o.identities = scenes;
  o.views = 1;
  o.seed = seed;
  o.width = 128;
  o.height = 96;
  return o;
}

TEST(SynthScene, EqualWhateverTheThreadsAndTheNumberOfScenes) {
  const SceneSet small(options(10), 16), large(options(40), 16);
  std::vector<StoreRecord> one, three;
  small.for_each(1, [&](const StoreRecord& r) { one.push_back(r); });
  small.for_each(3, [&](const StoreRecord& r) { three.push_back(r); });
  ASSERT_EQ(one.size(), 10U);
  std::set<std::vector<uint8_t>> pictures;
  for (size_t i = 0; i < one.size(); ++i) {
    const StoreRecord other = large.record(static_cast<int64_t>(i));
    for (const StoreRecord* record : std::vector<const StoreRecord*>{&three[i], &other}) {
      EXPECT_EQ(record->image, one[i].image);
      EXPECT_EQ(record->captions, one[i].captions);
      EXPECT_EQ(record->regions.features, one[i].regions.features);
      EXPECT_EQ(record->regions.boxes, one[i].regions.boxes);
    }
    pictures.insert(one[i].image);
  }
  EXPECT_EQ(pictures.size(), 10U);
  EXPECT_NE(SceneSet(options(10, 4), 16).record(0).image, one[0].image);
}

TEST(SynthScene, ThingsAreApartAndOfDifferentLooks) {
  for (int64_t number = 0; number < 300; ++number) {
    const ThingsScene scene = make_scene(options(300), number);
    ASSERT_GE(scene.things.size(), 3U);
    ASSERT_LE(scene.things.size(), 6U);
    for (size_t a = 0; a < scene.things.size(); ++a) {
      const Thing& one = scene.things[a];
      EXPECT_TRUE(one.centre.x >= one.radius && one.centre.x <= 128 - one.radius);
      EXPECT_TRUE(one.centre.y >= one.radius && one.centre.y <= 96 - one.radius);
      for (size_t b = 0; b < a; ++b) {
        const Thing& other = scene.things[b];
        EXPECT_TRUE(one.shape != other.shape || one.colour != other.colour);
        const float reach = one.radius + other.radius;
        EXPECT_TRUE(std::abs(one.centre.x - other.centre.x) > reach || std::abs(one.centre.y - other.centre.y) > reach);
      }
    }
  }
}

// The thing that a caption's words from `at` on mean.
const Thing* thing_at(const ThingsScene& scene, const std::string& caption, size_t at) {
  const Thing* found = nullptr;
  size_t nearest = std::string::npos;
  for (const Thing& thing : scene.things) {
    const std::string name =
        thing_colours()[static_cast<size_t>(thing.colour)] + " " + thing_shapes()[static_cast<size_t>(thing.shape)];
    const size_t place = caption.find(name, at);
    if (place < nearest) {
      nearest = place;
      found = &thing;
      if (place > 6 && (caption.substr(place - 6, 5) == "large" || caption.substr(place - 6, 5) == "small")) {
        EXPECT_EQ(caption.substr(place - 6, 5), thing.large ? "large" : "small") << caption;
      }
    }
  }
  return found;
}

TEST(SynthScene, CaptionsSayWhatIsThere) {
  const SceneSet set(options(200), 4);
  int relations = 0;
  std::set<std::string> captions;
  for (int64_t number = 0; number < 200; ++number) {
    const ThingsScene scene = make_scene(set.options(), number);
    const StoreRecord record = set.record(number);
    ASSERT_EQ(record.captions.size(), 5U);
    for (const std::string& caption : record.captions) {
      captions.insert(caption);
      const Thing* first = thing_at(scene, caption, 0);
      ASSERT_NE(first, nullptr) << caption;
      for (const char* word : {"to the left of", "to the right of", "above", "below"}) {
        const size_t at = caption.find(word);
        if (at == std::string::npos) continue;
        ++relations;
        const Thing* second = thing_at(scene, caption, at);
        ASSERT_NE(second, nullptr) << caption;
        const std::string said = word;
        const float dx = first->centre.x - second->centre.x, dy = first->centre.y - second->centre.y;
        EXPECT_TRUE(said == "to the left of"    ? dx < 0
                    : said == "to the right of" ? dx > 0
                    : said == "above"           ? dy < 0
                                                : dy > 0)
            << caption;
      }
    }
  }
  EXPECT_EQ(relations, 600);
  EXPECT_GT(captions.size(), 900U);
}

// The colour words against the pixels in the middle of the shapes that have one there.
TEST(SynthScene, PicturesShowTheThings) {
  int checked = 0, rings = 0;
  for (int64_t number = 0; number < 60; ++number) {
    const ThingsScene scene = make_scene(options(60), number);
    const StoreRecord record = SceneSet(options(60), 4).record(number);
    const Image image = decode_image(record.image.data(), record.image.size(), "scene");
    for (const Thing& thing : scene.things) {
      if (!thing.large) continue;
      const auto x = static_cast<size_t>(thing.centre.x), y = static_cast<size_t>(thing.centre.y + thing.radius * 0.1F);
      const uint8_t* p = image.pixels.data() + 3 * (y * 128 + x);
      const std::string& colour = thing_colours()[static_cast<size_t>(thing.colour)];
      if (thing.shape == Shape::kRing) {  // the ground, which has no strong colour
        EXPECT_LT(std::abs(p[0] - p[1]) + std::abs(p[1] - p[2]), 90) << number;
        EXPECT_TRUE(p[0] > 100 && p[0] < 220) << number;
        ++rings;
        continue;
      }
      if (colour == "red") {
        EXPECT_TRUE(p[0] > 2 * p[1] && p[0] > 2 * p[2]) << number;
      }
      if (colour == "green") {
        EXPECT_TRUE(p[1] > p[0] && p[1] > p[2]) << number;
      }
      if (colour == "blue") {
        EXPECT_TRUE(p[2] > p[0] && p[2] > p[1]) << number;
      }
      if (colour == "white") {
        EXPECT_GT(p[0] + p[1] + p[2], 600) << number;
      }
      if (colour == "black") {
        EXPECT_LT(p[0] + p[1] + p[2], 180) << number;
      }
      ++checked;
    }
  }
  EXPECT_GT(checked, 60);
  EXPECT_GT(rings, 5);
}

std::vector<float> row_of(const ImageRegions& regions, int64_t row, int64_t width) {
  std::vector<float> values;
  for (int64_t k = row * width; k < (row + 1) * width; ++k) {
    c10::Half half;
    half.x = regions.features[static_cast<size_t>(k)];
    values.push_back(half);
  }
  return values;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += double{a[i]} * b[i];
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

// Regions that hold things alike are alike, whatever the seed; others are not.
TEST(SynthScene, RegionsAreOfTheThings) {
  constexpr int64_t kWidth = 512;
  struct Seen {
    const Thing* thing;
    std::vector<float> features;
  };
  std::vector<ThingsScene> scenes;
  for (int64_t i = 0; i < 24; ++i) scenes.push_back(make_scene(options(24, static_cast<uint64_t>(i % 2)), i));
  std::vector<Seen> seen;
  for (int64_t i = 0; i < 24; ++i) {
    const StoreRecord record = SceneSet(options(24, static_cast<uint64_t>(i % 2)), kWidth).record(i);
    const int64_t count = record.regions.count();
    ASSERT_TRUE(count >= 10 && count <= 36);
    ASSERT_EQ(static_cast<int64_t>(record.regions.features.size()), count * kWidth);
    for (int64_t r = 0; r < count; ++r) {
      const float* box = record.regions.boxes.data() + 4 * r;
      ASSERT_TRUE(0 <= box[0] && box[0] < box[2] && box[2] <= 128 && 0 <= box[1] && box[1] < box[3] && box[3] <= 96);
    }
    for (const Thing& thing : scenes[static_cast<size_t>(i)].things) {
      bool found = false;
      for (int64_t r = 0; r < count && !found; ++r) {
        const float* box = record.regions.boxes.data() + 4 * r;
        const float corners[] = {thing.centre.x - thing.radius, thing.centre.y - thing.radius,
                                 thing.centre.x + thing.radius, thing.centre.y + thing.radius};
        found = true;
        for (int k = 0; k < 4; ++k) found &= std::abs(box[k] - corners[k]) <= 0.13F * thing.radius;
        if (found) seen.push_back({&thing, row_of(record.regions, r, kWidth)});
      }
      EXPECT_TRUE(found) << i;
    }
  }
  for (const Seen& a : seen) {
    for (const Seen& b : seen) {
      if (&a == &b) continue;
      const int shared = (a.thing->shape == b.thing->shape) + (a.thing->colour == b.thing->colour) +
                         (a.thing->large == b.thing->large);
      // The codes' share of a feature's variance is 1 / (1 + kNoise^2).
      EXPECT_NEAR(cosine(a.features, b.features), shared / 3.0 / 1.25, 0.22);
    }
  }
}

TEST(SynthScene, WrongOptionsAreRefused) {
  Options o = options(10);
  EXPECT_THROW(SceneSet(o, 0), ConfigError);
  EXPECT_THROW(SceneSet(o, 65537), ConfigError);
  o.views = 2;
  EXPECT_THROW(SceneSet(o, 4), ConfigError);
  EXPECT_THROW(SceneSet(options(2), 4), ConfigError);
}

}  // namespace
}  // namespace muster::synth
