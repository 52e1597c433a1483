// Batches of regions against the records that the store was made of.
#include "dataloader/region_batch.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "dataloader/evaluation_reader.h"
#include "dataloader/loader.h"
#include "tests/dataloader/sample_store.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kWidth = 6;
constexpr InputSize kInput{0, 0, 4, kWidth};

class NoTokens : public Tokenizer {
 public:
  void encode(std::string_view, int64_t* ids, int64_t context) const override { std::fill(ids, ids + context, 1); }
  int64_t vocabulary() const override { return 2; }
  Ordinary ordinary() const override { return {1, 1, 1}; }
  std::string decode(const int64_t*, int64_t) const override { return ""; }
};

class RegionBatchTest : public testing::Test {
 protected:
  RegionBatchTest() : records_(sample_region_records(40, kWidth, 9)) {
    for (StoreRecord& record : records_) {
      record.split = Split::kTrain;
      record.captions = {"one"};
    }
    write_store(folder_ / "s", records_, 3000, kWidth);
    store_.emplace(folder_ / "s");
  }

  // Rows as the README and TERAN have them, in double.
  void expect_rows(const std::vector<int64_t>& images, const Batch& found) const {
    ASSERT_EQ(found.region_counts.size(0), static_cast<int64_t>(images.size()));
    int64_t row = 0;
    for (size_t i = 0; i < images.size(); ++i) {
      const StoreRecord& record = records_[static_cast<size_t>(images[i])];
      const int64_t count = record.regions.count();
      ASSERT_EQ(found.region_counts.const_data_ptr<int64_t>()[i], count);
      for (int64_t r = 0; r < count; ++r, ++row) {
        const auto* features = static_cast<const uint16_t*>(found.regions.const_data_ptr()) + row * kWidth;
        EXPECT_TRUE(std::equal(features, features + kWidth, record.regions.features.begin() + r * kWidth));
        const float* pixels = record.regions.boxes.data() + r * 4;
        const double x1 = pixels[0] / static_cast<double>(record.width),
                     y1 = pixels[1] / static_cast<double>(record.height);
        const double x2 = pixels[2] / static_cast<double>(record.width),
                     y2 = pixels[3] / static_cast<double>(record.height);
        const double expected[] = {x1, y1, x2, y2, (x2 - x1) * (y2 - y1)};
        for (int k = 0; k < 5; ++k) {
          const double value = found.boxes.const_data_ptr<float>()[row * 5 + k];
          EXPECT_NEAR(value, expected[k], 1e-4 + 1e-5 * std::abs(expected[k])) << k;
        }
      }
    }
    EXPECT_EQ(found.regions.sizes(), (std::vector<int64_t>{row, kWidth}));
    EXPECT_EQ(found.boxes.sizes(), (std::vector<int64_t>{row, 5}));
    EXPECT_EQ(found.regions.scalar_type(), at::kHalf);
  }

  TemporaryFolder folder_;
  std::vector<StoreRecord> records_;
  std::optional<Store> store_;
  NoTokens tokenizer_;
};

TEST_F(RegionBatchTest, TheLoaderGivesTheSamplesRegions) {
  for (const int workers : {1, 5}) {
    DataConfig data;
    data.set_workers(workers);
    Loader loader(*store_, data, kInput, tokenizer_, {3, 7, {}, 2, 12});
    for (int64_t step = 2; step < 12; ++step) {
      const Batch batch = loader.next();
      ASSERT_EQ(batch.size(), 7);
      EXPECT_FALSE(batch.images.defined());
      const int64_t* images = batch.image_id.const_data_ptr<int64_t>();
      expect_rows({images, images + 7}, batch);
    }
  }
}

TEST_F(RegionBatchTest, RanksJoinedAreAWorldOfOne) {
  const DataConfig data;
  const auto load = [&](const Shard& shard) {
    return Loader(*store_, data, kInput, tokenizer_, {3, 7, shard, 4, 5}).next();
  };
  const Batch whole = load({0, 1});
  std::vector<at::Tensor> regions, boxes, counts;
  for (int rank = 0; rank < 3; ++rank) {
    const Batch part = load({rank, 3});
    regions.push_back(part.regions);
    boxes.push_back(part.boxes);
    counts.push_back(part.region_counts);
  }
  EXPECT_TRUE(at::equal(at::cat(regions), whole.regions));
  EXPECT_TRUE(at::equal(at::cat(boxes), whole.boxes));
  EXPECT_TRUE(at::equal(at::cat(counts), whole.region_counts));
}

TEST_F(RegionBatchTest, TheEvaluationReaderGivesThoseAskedFor) {
  DataConfig data;
  data.set_workers(3);
  const EvaluationReader reader(*store_, data, kInput, tokenizer_);
  expect_rows({5, 39, 0, 5}, reader.images({5, 39, 0, 5}));
  expect_rows({}, reader.images({}));
  EXPECT_FALSE(reader.images({1}).images.defined());
}

TEST_F(RegionBatchTest, OtherStoresAreRefused) {
  write_store(folder_ / "pixels", sample_records(9), 1 << 20);
  const Store pixels(folder_ / "pixels");
  const auto message = [&](const Store& store, int64_t width) -> std::string {
    const InputSize input{0, 0, 4, width};
    try {
      const EvaluationReader reader(store, DataConfig(), input, tokenizer_);
    } catch (const ConfigError& error) {
      EXPECT_THROW(Loader(store, DataConfig(), input, tokenizer_, {3, 2, {}, 0, 1}), ConfigError);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message(*store_, kWidth), "");
  EXPECT_THAT(message(*store_, 7), AllOf(HasSubstr("has regions of 6 numbers"), HasSubstr("takes 7")));
  EXPECT_THAT(message(pixels, kWidth), AllOf(HasSubstr("has no regions"), HasSubstr("muster import regions")));
  TrainingStores both(*store_);
  both.add(pixels, 1);
  EXPECT_THROW(Loader(both, DataConfig(), kInput, tokenizer_, {3, 2, {}, 0, 1}), ConfigError);
}

TEST_F(RegionBatchTest, DamageNamesTheImage) {
  const Store::ShardFile& shard = store_->shards().front();
  const std::string manifest = read_text(folder_ / "s/manifest.textproto");
  const size_t at = manifest.find("begin: ", manifest.find("region_features"));
  const std::string path = folder_ / ("s/" + shard.name);
  replace_byte(path, std::stoul(manifest.substr(at + 7)), static_cast<uint8_t>(records_[0].regions.features[0] ^ 0x10));
  DataConfig data;
  data.set_workers(2);
  const EvaluationReader reader(*store_, data, kInput, tokenizer_);
  EXPECT_THAT(error_of([&] {
                reader.images({3, 0});
              }),
              AllOf(HasSubstr("image 0 of "), HasSubstr("do not match their hash")));
  EXPECT_THAT(error_of([&] { store_->verify(); }), HasSubstr("regions of image 0"));
}

}  // namespace
}  // namespace muster
