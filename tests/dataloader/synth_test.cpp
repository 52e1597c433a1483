#include "dataloader/synth/synth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "dataloader/image.h"
#include "dataloader/importers/jsonl.h"
#include "dataloader/synth/figure.h"
#include "dataloader/synth/jsonl_folder.h"
#include "launch/error.h"
#include "tests/support/temporary_folder.h"

namespace muster::synth {
namespace {

using testing::HasSubstr;

Options options(int64_t identities, int64_t views, uint64_t seed = 5) {
  Options o;
  o.identities = identities;
  o.views = views;
  o.seed = seed;
  return o;
}

std::vector<StoreRecord> all_records(const Set& set, int threads) {
  std::vector<StoreRecord> records;
  set.for_each(threads, [&](const StoreRecord& r) { records.push_back(r); });
  return records;
}

void expect_same(const StoreRecord& a, const StoreRecord& b) {
  EXPECT_EQ(a.source_path, b.source_path);
  EXPECT_EQ(a.identity, b.identity);
  EXPECT_EQ(a.captions, b.captions);
  EXPECT_EQ(a.split, b.split);
  EXPECT_TRUE(a.image == b.image) << a.source_path;
}

TEST(Synth, SameBytesWhateverTheThreads) {
  const Set set(options(15, 7));
  const std::vector<StoreRecord> one = all_records(set, 1), three = all_records(Set(options(15, 7)), 3);
  ASSERT_EQ(one.size(), 105U);
  ASSERT_EQ(three.size(), 105U);
  for (size_t i = 0; i < one.size(); ++i) expect_same(one[i], three[i]);
  EXPECT_EQ(one[16].identity, "000002");
  EXPECT_EQ(one[16].source_path, "images/000002_02.jpg");
}

TEST(Synth, ALargerSetHasTheSamePicturesAndCaptions) {
  const Set small(options(4, 2)), large(options(40, 5));
  for (int64_t identity = 0; identity < 4; ++identity) {
    for (int64_t view = 0; view < 2; ++view) {
      const StoreRecord a = small.record(identity * 2 + view), b = large.record(identity * 5 + view);
      EXPECT_TRUE(a.image == b.image);
      EXPECT_EQ(a.captions, b.captions);
    }
  }
}

TEST(Synth, SeedsIdentitiesAndViewsDiffer) {
  std::set<std::vector<uint8_t>> pictures;
  std::set<std::string> captions;
  for (const uint64_t seed : {1, 2, 3}) {
    for (const StoreRecord& r : all_records(Set(options(6, 4, seed)), 1)) {
      pictures.insert(r.image);
      captions.insert(r.captions[0]);
    }
  }
  EXPECT_EQ(pictures.size(), 72U);
  EXPECT_GE(captions.size(), 71U);
}

TEST(Synth, PicturesHaveTheSizeAskedFor) {
  for (const auto& [width, height] : {std::pair{64, 128}, {16, 16}, {33, 47}, {200, 100}, {24, 300}}) {
    Options o = options(6, 3);
    o.width = width;
    o.height = height;
    for (const StoreRecord& r : all_records(Set(o), 1)) {
      const Image image = decode_image(r.image.data(), r.image.size(), r.source_path);
      EXPECT_EQ(image.width, width);
      EXPECT_EQ(image.height, height);
      EXPECT_EQ(r.width, width);
      EXPECT_EQ(r.height, height);
      EXPECT_EQ(r.captions.size(), 2U);
    }
  }
}

TEST(Synth, SplitsHaveExactSharesAndShareNobody) {
  Options o = options(200, 3);
  o.width = o.height = 16;
  o.val_fraction = 0.15;
  o.test_fraction = 0.25;
  std::map<std::string, Split> split_of;
  std::array<int, 3> images{};
  for (const StoreRecord& r : all_records(Set(o), 2)) {
    const auto [at, fresh] = split_of.emplace(r.identity, r.split);
    EXPECT_EQ(at->second, r.split);
    ++images[static_cast<size_t>(r.split)];
  }
  EXPECT_EQ(split_of.size(), 200U);
  EXPECT_EQ(images, (std::array<int, 3>{360, 90, 150}));
  // Another seed draws other people for the test.
  const Set set(o);
  o.seed = 6;
  const Set other(o);
  int moved = 0;
  for (int64_t i = 0; i < 200; ++i) moved += set.split(i) != other.split(i) ? 1 : 0;
  EXPECT_GT(moved, 40);
}

TEST(Synth, SmallSharesGetOneAndZeroGetsNone) {
  Options o = options(4, 1);
  o.val_fraction = 0.01;
  o.test_fraction = 0;
  const Set set(o);
  std::array<int, 3> count{};
  for (int64_t i = 0; i < 4; ++i) ++count[static_cast<size_t>(set.split(i))];
  EXPECT_EQ(count, (std::array<int, 3>{3, 1, 0}));
}

std::string refusal(const Options& o) {
  try {
    const Set set(o);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Synth, RefusesBadOptionsWithOneLine) {
  EXPECT_EQ(refusal(options(0, 1)), "--identities is 0; it must be 1 to 100000000");
  EXPECT_EQ(refusal(options(-3, 1)), "--identities is -3; it must be 1 to 100000000");
  EXPECT_EQ(refusal(options(10, 0)), "--views is 0; it must be 1 to 1000000");
  EXPECT_EQ(refusal(options(int64_t{1} << 60, 1)), "--identities is 1152921504606846976; it must be 1 to 100000000");
  Options o = options(10, 2);
  o.width = 15;
  EXPECT_EQ(refusal(o), "--width is 15; it must be 16 to 2048");
  o = options(10, 2);
  o.height = 4000;
  EXPECT_EQ(refusal(o), "--height is 4000; it must be 16 to 2048");
  o = options(10, 2);
  o.val_fraction = 0.6;
  o.test_fraction = 0.4;
  EXPECT_THAT(refusal(o), HasSubstr("less than 1 together"));
  o.val_fraction = std::nan("");
  EXPECT_THAT(refusal(o), HasSubstr("must be 0 or more"));
  EXPECT_THAT(refusal(options(2, 5)), HasSubstr("leaves none for training beside 1 for val and 1 for test"));
}

// The picture shows what the person is said to wear: where chest and thigh must be, their colours are found.
TEST(Synth, ThePictureShowsTheColoursOfTheClothes) {
  int checked = 0;
  for (int64_t i = 0; i < 1200; ++i) {
    const Person p = make_person(3, i);
    const bool plain = p.pattern == Pattern::kPlain && !p.open_front && !p.scarf && p.carried == Carried::kNone &&
                       p.hair != HairStyle::kLong && p.bag == Bag::kNone && p.upper != Upper::kVest;
    const bool trousers = p.lower == Lower::kTrousers || p.lower == Lower::kLeggings;
    if (!plain || !trousers || p.upper == Upper::kCoat) continue;
    View view = make_view(3, i, 0, p);
    view.yaw = 0.2F;
    view.walking = false;
    view.stride = 0.03F;
    Canvas canvas(128, 256);
    draw_person(canvas, p, view);
    const Projection project(view, 128, 256);
    const Skeleton body = make_skeleton(p, view);
    const Leg& leg = body.legs[0];
    const auto near = [&](Vec3 at, Colour expected) {
      const Vec2 pixel = project(at);
      const Colour drawn = canvas.at(static_cast<int>(pixel.x), static_cast<int>(pixel.y));
      const Colour c{std::min(drawn.r, 1.0F), std::min(drawn.g, 1.0F), std::min(drawn.b, 1.0F)};
      EXPECT_NEAR(c.r, expected.r, 0.17F) << i;
      EXPECT_NEAR(c.g, expected.g, 0.17F) << i;
      EXPECT_NEAR(c.b, expected.b, 0.17F) << i;
    };
    near({0.04F, 0.66F + body.pelvis, 0.05F}, p.upper_dye.shade);
    near(mix(leg.hip, leg.knee, 0.6F), p.lower_dye.shade);
    ++checked;
  }
  EXPECT_GT(checked, 25);
}

TEST(SynthJsonl, TheImporterReadsWhatWasWritten) {
  const TemporaryFolder folder;
  const Set set(options(12, 3));
  JsonlFolder writer(folder / "people");
  set.for_each(2, [&](const StoreRecord& r) { writer.add(r); });
  writer.finish();
  import_list(read_jsonl(folder / "people/manifest.jsonl"), folder / "store", ImportOptions{});
  const Store store(folder / "store");
  ASSERT_EQ(store.images(), 36);
  ASSERT_EQ(store.captions(), 72);
  for (int64_t i = 0; i < store.images(); ++i) {
    const StoreRecord r = set.record(i);
    EXPECT_EQ(store.source_path(i), r.source_path);
    EXPECT_TRUE(store.image_bytes(i) == r.image);
    EXPECT_EQ(store.split(i), r.split);
    EXPECT_EQ(store.identity_name(store.identity(i)), r.identity);
    EXPECT_EQ(store.caption(store.first_caption(i) + 1), r.captions[1]);
  }
}

TEST(SynthJsonl, NothingStaysUnlessFinished) {
  const TemporaryFolder folder;
  const Set set(options(4, 1));
  {
    JsonlFolder writer(folder / "people");
    writer.add(set.record(0));
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "people"));
}

TEST(SynthJsonl, TakesOverFromAStoppedWriterAndNothingElse) {
  const TemporaryFolder folder;
  const Set set(options(4, 1));
  std::filesystem::create_directories(folder / "stopped/images");
  std::ofstream(folder / "stopped/images/000099_00.jpg") << "x";
  {
    JsonlFolder writer(folder / "stopped");
    writer.add(set.record(0));
    writer.finish();
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "stopped/images/000099_00.jpg"));
  EXPECT_TRUE(std::filesystem::exists(folder / "stopped/images/000000_00.jpg"));
  EXPECT_THROW(JsonlFolder(folder / "stopped"), DataError);  // finished: not ours to touch
  std::filesystem::create_directories(folder / "other");
  std::ofstream(folder / "other/notes.txt") << "mine";
  EXPECT_THROW(JsonlFolder(folder / "other"), DataError);
  EXPECT_TRUE(std::filesystem::exists(folder / "other/notes.txt"));
}

}  // namespace
}  // namespace muster::synth
