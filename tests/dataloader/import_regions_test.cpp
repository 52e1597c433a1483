// Region features as extractors leave them (tests/golden/regions, written by NumPy) into stores.
//
// Number k of image i is (37 k + 11 i) % 101 / 8; the box of region r is (r, r / 2, r + 10.5, r + 20).
#include <c10/util/Half.h>

#include <cmath>
#include <limits>

#include "dataloader/importers/karpathy.h"
#include "dataloader/importers/region_source.h"
#include "tests/dataloader/import_fixture.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kGolden = MUSTER_SOURCE_DIR "/tests/golden/regions";
constexpr int64_t kWidth = 4;

class ImportRegions : public ImportTest {
 protected:
  ImportRegions() { std::filesystem::copy(kGolden, folder_ / "set", std::filesystem::copy_options::recursive); }

  ImportList npz(const RegionOptions& options) {
    ImportList list = read_karpathy(folder_ / "set/dataset.json", RegionIds::kNumber);
    list.has_images = false;
    list.region_extractor = "an extractor";
    std::vector<std::string> items;
    for (const ImportRow& row : list.rows) items.push_back(row.region_item);
    list.regions = open_npz_regions(folder_ / "set", items, options);
    return list;
  }
  ImportList npz() { return npz({0, {folder_ / "set/sizes.json"}}); }
  ImportList tsv(const RegionOptions& options = {}) {
    ImportList list = read_karpathy(folder_ / "set/dataset.json", RegionIds::kName);
    list.has_images = false;
    list.regions = open_tsv_regions(folder_ / "set/regions.tsv", options);
    return list;
  }
  ImportList scan(const RegionOptions& options = {}) { return read_scan_regions(folder_ / "set/scan", options); }

  static void expect_regions(const Store& store, int64_t image, int64_t item, int64_t count, bool has_boxes = true) {
    ASSERT_EQ(store.region_count(image), count);
    std::vector<uint16_t> features(static_cast<size_t>(count * kWidth));
    std::vector<float> boxes(static_cast<size_t>(count * 4));
    store.read_regions(image, features.data(), boxes.data());
    for (int64_t k = 0; k < count * kWidth; ++k) {
      c10::Half half;
      half.x = features[static_cast<size_t>(k)];
      EXPECT_EQ(static_cast<float>(half), static_cast<float>((37 * k + 11 * item) % 101) / 8);
    }
    for (int64_t r = 0; r < count; ++r) {
      const float* box = boxes.data() + 4 * r;
      const auto at = static_cast<float>(r);
      const std::vector<float> expected =
          has_boxes ? std::vector<float>{at, at / 2, at + 10.5F, at + 20} : std::vector<float>{0, 0, 1, 1};
      EXPECT_EQ(std::vector<float>(box, box + 4), expected);
    }
  }
  void expect_golden(const Store& store) {
    ASSERT_EQ(store.images(), 2);
    EXPECT_EQ(store.region_width(), kWidth);
    expect_regions(store, 0, 17, 3);
    expect_regions(store, 1, 18, 2);
    EXPECT_THAT(captions_of(store, 0), ElementsAre("A man.", "Someone."));
    EXPECT_EQ(store.split(0), Split::kTrain);  // restval
    EXPECT_EQ(store.split(1), Split::kTest);
    EXPECT_EQ(store.source_path(1), "val2014/COCO_18.jpg");
    EXPECT_EQ(store.identities(), 2);
    store.verify();
  }
  template <typename Read>
  std::string message(const Read& read) {
    return message_of([&] { import(read()); });
  }
  // The first image's features and boxes are these.
  void write_tsv(int count, const std::vector<float>& boxes, const std::vector<float>& features) {
    write_list("set/regions.tsv", line(17, count, boxes, features) + line(18, 1, {0, 0, 1, 1}, {1, 1, 1, 1}));
  }
  static std::string line(int id, int count, const std::vector<float>& boxes, const std::vector<float>& features) {
    return std::to_string(id) + "\t40\t30\t" + std::to_string(count) + "\t" + base64(boxes) + "\t" + base64(features) +
           "\n";
  }
  static std::string base64(const std::vector<float>& values) {
    const char* letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string bytes(reinterpret_cast<const char*>(values.data()), values.size() * 4), text;
    const size_t rest = bytes.size() % 3;
    bytes.resize(bytes.size() + (3 - rest) % 3);
    for (size_t i = 0; i < bytes.size(); i += 3) {
      const auto at = [&](size_t k) { return static_cast<uint32_t>(static_cast<uint8_t>(bytes[i + k])); };
      const uint32_t bits = at(0) << 16 | at(1) << 8 | at(2);
      for (int k = 3; k >= 0; --k) text += letters[bits >> (6 * k) & 63];
    }
    if (rest > 0) text.replace(text.size() - (3 - rest), 3 - rest, std::string(3 - rest, '='));
    return text;
  }
};

TEST_F(ImportRegions, NpzFoldersOnAnyThreads) {
  import(npz());
  {
    const Store store(folder_ / "out");
    expect_golden(store);
    EXPECT_EQ(store.region_extractor(), "an extractor");
    EXPECT_EQ(store.width(0), 40);
    EXPECT_EQ(store.height(1), 31);
    EXPECT_EQ(store.image_size(0), 0);
  }
  const auto bytes = folder_contents(folder_ / "out");
  std::filesystem::remove_all(folder_ / "out");
  import(npz(), false, 7);
  EXPECT_EQ(folder_contents(folder_ / "out"), bytes);
}

TEST_F(ImportRegions, WithPictures) {
  write_image("pictures/val2014/COCO_17.jpg", 17);
  write_image("pictures/val2014/COCO_18.jpg", 18);
  const auto with_pictures = [&] {
    ImportList list = npz({});
    list.has_images = true;
    list.root = folder_ / "pictures";
    return list;
  };
  EXPECT_THAT(message(with_pictures), HasSubstr("region 1 (1, 0.5, 11.5, 21) lies outside its image of 14 x 20"));
  Image image{44, 33, std::vector<uint8_t>(44 * 33 * 3, 99)};
  const std::vector<uint8_t> jpeg = encode_jpeg(image, 90);
  for (const char* name : {"17", "18"})
    write_bytes(folder_ / ("pictures/val2014/COCO_" + std::string(name) + ".jpg"), jpeg);
  import(with_pictures());
  const Store store(folder_ / "out");
  expect_golden(store);
  EXPECT_EQ(store.image_bytes(1), jpeg);
  EXPECT_EQ(store.width(1), 44);
}

TEST_F(ImportRegions, Tsv) {
  import(tsv());
  const Store store(folder_ / "out");
  expect_golden(store);
  EXPECT_EQ(store.height(1), 30);
}

TEST_F(ImportRegions, TsvWithoutALastLineEndAndWithCarriageReturns) {
  std::string text = read_text(kGolden + "/regions.tsv");
  text.replace(text.find('\n'), 1, "\r\n\r\n");
  text.pop_back();
  write_list("set/regions.tsv", text);
  import(tsv());
  expect_golden(Store(folder_ / "out"));
}

TEST_F(ImportRegions, Scan) {
  const ImportReport report = import(scan());
  EXPECT_THAT(report.warnings, testing::Contains(HasSubstr("no boxes")));
  const Store store(folder_ / "out");
  ASSERT_EQ(store.images(), 3);
  for (int64_t i = 0; i < 3; ++i) expect_regions(store, i, i, 3, false);
  EXPECT_THAT(captions_of(store, 1), ElementsAre("c", "d"));
  EXPECT_THAT(store.images_of(Split::kVal), ElementsAre(2));
}

TEST_F(ImportRegions, EachMistakeIsNamed) {
  const float inf = std::numeric_limits<float>::infinity();
  struct Case {
    int count;
    std::vector<float> boxes, features;
    const char* message;
  };
  const std::vector<float> box = {0, 0, 10, 10}, features = {1, 2, 3, 4};
  const Case cases[] = {
      {1, box, {1, 2, inf, 4}, "number 2 of region 0 is inf"},
      {1, box, {1, 2, 3, std::nanf("")}, "number 3 of region 0 is nan"},
      {1, box, {1, 65520, 3, 4}, "number 1 of region 0 is 65520, beyond float16"},
      {1, {10, 0, 0, 10}, features, "is turned round"},
      {1, {0, 10, 10, 0}, features, "is turned round"},
      {1, {0, 0, 41, 10}, features, "lies outside its image of 40 x 30"},
      {1, {0, 0, 10, 31}, features, "lies outside its image"},
      {1, {-1, 0, 10, 10}, features, "lies outside its image"},
      {1, {0, 0, std::nanf(""), 10}, features, "is not finite"},
      {1, {0, 0, 10, 10, 0, 0, 1, 1}, features, "has 8 numbers of boxes for 1 regions"},
      {2, {0, 0, 10, 10, 0, 0, 1, 1}, {1, 2, 3, 4, 5, 6, 7}, "features are no table"},
      {0, box, features, "features are no table"},
  };
  for (const Case& c : cases) {
    write_tsv(c.count, c.boxes, c.features);
    EXPECT_THAT(message([&] { return tsv(); }), HasSubstr(c.message));
  }
  write_tsv(2, {0, 0, 1, 1, 0, 0, 1, 1}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(message([&] { return tsv(); }),
              AllOf(HasSubstr("dataset.json[1]"), HasSubstr("has 4 numbers for 1 regions, not 3")));
  write_tsv(1, box, features);
  EXPECT_THAT(message([&] {
                return tsv({2, {}});
              }),
              HasSubstr("dataset.json[0]: regions of val2014/COCO_17.jpg: has 1 regions, not 2"));
  write_list("set/regions.tsv", line(18, 1, box, features));
  EXPECT_THAT(message([&] { return tsv(); }), HasSubstr("image 17 is not in "));
  write_list("set/regions.tsv", line(18, 1, box, features) + line(18, 1, box, features));
  EXPECT_THAT(message([&] { return tsv(); }), HasSubstr("regions.tsv:2: image 18 was listed before"));
  write_list("set/regions.tsv", "17\t40\t30\t1\n");
  EXPECT_THAT(message([&] { return tsv(); }), HasSubstr("4 fields between tabs"));
  write_list("set/regions.tsv", "17\tx\t30\t1\tAA==\tAA==\n");
  EXPECT_THAT(message([&] { return tsv(); }), HasSubstr("its width is no number"));
  write_list("set/regions.tsv", "17\t40\t30\t1\t!\tAA==\n");
  EXPECT_THAT(message([&] { return tsv(); }), HasSubstr("boxes are no float32 numbers in base64"));
  write_list("set/regions.tsv", "");
  EXPECT_THAT(message([&] { return tsv(); }), HasSubstr("no line in it"));
}

// Its features are read when they are checked and when they are copied.
TEST_F(ImportRegions, FeaturesThatChangeInBetweenEndTheImport) {
  ImportOptions options;
  options.progress = [&](double fraction, int64_t) {
    if (fraction > 0.8) {
      std::filesystem::copy(kGolden + "/bu_box/17.npy", folder_ / "set/bu_box/17.npy",
                            std::filesystem::copy_options::overwrite_existing);
      std::string text = read_text(folder_ / "set/bu_box/17.npy");
      text.back() = '\x40';  // the last box's y2: 22 becomes 5.5
      write_text(folder_ / "set/bu_box/17.npy", text);
    }
  };
  EXPECT_THAT(message_of([&] { import_list(npz(), folder_ / "out", options); }),
              HasSubstr("COCO_17.jpg changed while it was imported"));
}

TEST_F(ImportRegions, MistakesOfFoldersAreNamed) {
  EXPECT_THAT(message([&] { return npz({}); }), HasSubstr("size in pixels is not known; give it with --sizes"));
  std::filesystem::remove(folder_ / "set/bu_box/18.npy");
  EXPECT_THAT(message([&] { return npz(); }), AllOf(HasSubstr("dataset.json[1]"), HasSubstr("No such file")));
  std::filesystem::copy(kGolden + "/bu_box/17.npy", folder_ / "set/bu_box/18.npy");
  EXPECT_THAT(message([&] { return npz(); }), HasSubstr("18.npy is [3, 4], not [2, 4]"));
  std::filesystem::copy(kGolden + "/bu_box/17.npy", folder_ / "set/bu_att/18.npz",
                        std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(message([&] { return npz(); }), HasSubstr("not a whole zip archive"));
  std::filesystem::remove(folder_ / "set/bu_att/17.npz");
  std::filesystem::remove(folder_ / "set/bu_att/18.npz");
  EXPECT_THAT(message([&] { return npz(); }), HasSubstr("none of the 2 images has features"));
  std::filesystem::remove_all(folder_ / "set/bu_att");
  EXPECT_THAT(message([&] { return npz(); }), HasSubstr("no folder bu_att"));
  write_list("set/sizes.json", R"({"images": [{"id": 17, "width": 0, "height": 3}]})");
  EXPECT_THAT(message([&] { return npz(); }), AllOf(HasSubstr("sizes.json[0]"), HasSubstr("width must be")));
  write_list("set/scan/train_caps.txt", "a\nb\nc\n");
  EXPECT_THAT(message([&] { return scan(); }), HasSubstr("has 3 captions for the 2 images"));
  write_list("set/scan/train_caps.txt", "a\n \nc\nd\n");
  EXPECT_THAT(message([&] { return scan(); }), HasSubstr("train_caps.txt:2: a caption is empty"));
  write_list("set/scan/train_caps.txt", "a\nb\nc\nd\n");
  EXPECT_THAT(message([&] { return scan({36, {}}); }), HasSubstr("has 3 regions, not 36"));
  EXPECT_THAT(message([&] { return read_scan_regions(folder_.path(), {}); }), HasSubstr("there is no train_ims.npy"));
}

TEST_F(ImportRegions, MistakesOfKarpathysListAreNamed) {
  const std::string large = R"({"images": [")" + std::string(1 << 24, 'x') + R"("]})";
  const std::pair<const char*, const char*> cases[] = {
      {R"({"images": [{"filename": "a.jpg", "split": "train", "sentences": []}]})", "[0]: the image has no caption"},
      {R"({"images": [{"filename": "a.jpg", "split": "train", "sentences": ["a"]}]})",
       "each sentence must be a JSON object"},
      {R"({"images": [{"filename": "a.jpg", "split": "train"}]})", "the field sentences is missing"},
      {R"({"images": [{"filename": "a.jpg", "split": "tst", "sentences": [{"raw": "a"}]}]})", "unknown split"},
      {R"({"images": [{"filename": "a.jpg", "split": "val", "cocoid": "../x", "sentences": [{"raw": "a"}]}]})",
       "slash"},
      {R"({"images": [{"split": "val", "sentences": [{"raw": "a"}]}]})", "the field filename is missing"},
      {R"({"images": [7]})", "an entry must be a JSON object"},
      {R"([])", "images"},
      {large.c_str(), "an item of 16777218 bytes; at most 16777216 are allowed"},
  };
  for (const auto& [text, expected] : cases) {
    write_list("set/dataset.json", text);
    EXPECT_THAT(message([&] { return tsv(); }), HasSubstr(expected)) << expected;
  }
}

// Killed or not: what is bad is refused, and the rest is there.
TEST_F(ImportRegions, SkipBadKeepsTheRest) {
  std::filesystem::remove(folder_ / "set/bu_att/17.npz");
  const ImportReport report = import(npz(), true);
  EXPECT_EQ(report.refused.size(), 1U);
  const Store store(folder_ / "out");
  ASSERT_EQ(store.images(), 1);
  expect_regions(store, 0, 18, 2);
}

TEST(CheckRegions, RoundsHalfToEvenAndCutsBoxes) {
  const RegionRules rules{1, 5, 2};
  const ImageRegions regions = check_regions({1, {1.00048828125F, 2049}, {-0.4F, 0, 10.25F, 5}, 10, 5}, rules);
  EXPECT_THAT(regions.features, ElementsAre(0x3c00, 0x6800));  // 1 and 2048
  EXPECT_THAT(regions.boxes, ElementsAre(0, 0, 10, 5));
  EXPECT_THAT(check_regions({1, {65519, -65519}, {}, 3, 2}, rules).features, ElementsAre(0x7bff, 0xfbff));
}

}  // namespace
}  // namespace muster
