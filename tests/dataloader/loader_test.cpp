#include "dataloader/loader.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>

#include "dataloader/random.h"
#include "dataloader/sample_list.h"
#include "dataloader/text_transform.h"
#include "dataloader/transforms.h"
#include "launch/error.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using testing::HasSubstr;

constexpr InputSize kInput{12, 16, 8};
constexpr int64_t kImages = 23;

// Ids are the caption's bytes.
class ByteTokenizer : public Tokenizer {
 public:
  void encode(std::string_view caption, int64_t* ids, int64_t context) const override {
    for (int64_t i = 0; i < context; ++i) {
      const auto place = static_cast<size_t>(i);
      ids[i] = place < caption.size() ? static_cast<uint8_t>(caption[place]) : 0;
    }
  }
  int64_t vocabulary() const override { return 256; }
  Ordinary ordinary() const override { return {1, 255, 255}; }
  std::string decode(const int64_t*, int64_t) const override { return ""; }
};

class FailingTokenizer : public ByteTokenizer {
 public:
  void encode(std::string_view, int64_t*, int64_t) const override { throw std::length_error("not a user's error"); }
};

Image picture(int64_t number) {
  KeyedRandom random(2, static_cast<uint64_t>(number), Purpose::kSynth);
  Image image = allocate_image(10 + number % 7, 10 + number % 5, "test");
  for (uint8_t& value : image.pixels) value = static_cast<uint8_t>(random.next_below(256));
  return image;
}

// Image i of 23 has i % 4 captions "i/c" and identity i / 2; the split is train for all but each seventh.
void write_store(const std::string& path, int64_t damaged = -1) {
  StoreWriter writer(path);
  for (int64_t i = 0; i < kImages; ++i) {
    StoreRecord record;
    const Image image = picture(i);
    record.source_path = fmt::format("pictures/{}.jpg", i);
    record.image = encode_jpeg(image, 90);
    if (i == damaged) record.image.resize(record.image.size() / 2);
    record.width = image.width;
    record.height = image.height;
    for (int64_t c = 0; c < i % 4; ++c) record.captions.push_back(fmt::format("{}/{}", i, c));
    record.identity = fmt::format("identity {}", i / 2);
    record.split = i % 7 == 6 ? Split::kVal : Split::kTrain;
    writer.add(record);
  }
  writer.finish();
}

DataConfig augmented() {
  DataConfig data;
  data.mutable_image()->set_flip(true);
  data.mutable_image()->set_pad_crop(3);
  return data;
}

Batch join(const std::vector<Batch>& batches) {
  const auto all = [&](at::Tensor Batch::*field) {
    std::vector<at::Tensor> parts;
    for (const Batch& batch : batches) parts.push_back(batch.*field);
    return at::cat(parts);
  };
  return {all(&Batch::images), all(&Batch::tokens), all(&Batch::identity), all(&Batch::image_id),
          all(&Batch::position)};
}

bool same(const Batch& a, const Batch& b) {
  return at::equal(a.images, b.images) && at::equal(a.tokens, b.tokens) && at::equal(a.identity, b.identity) &&
         at::equal(a.image_id, b.image_id) && at::equal(a.position, b.position);
}

class LoaderTest : public testing::Test {
 protected:
  LoaderTest() {
    write_store(folder_ / "store");
    store_.emplace(folder_ / "store");
  }

  std::vector<Batch> load(const DataConfig& data, const SampleStream& stream) {
    Loader loader(*store_, data, kInput, tokenizer_, stream);
    std::vector<Batch> batches;
    for (int64_t step = stream.first_step; step < stream.end_step; ++step) batches.push_back(loader.next());
    return batches;
  }

  TemporaryFolder folder_;
  std::optional<Store> store_;
  ByteTokenizer tokenizer_;
};

std::string text(const Batch& batch, int64_t row) {
  const int64_t* ids = batch.tokens.const_data_ptr<int64_t>() + row * kInput.context;
  std::string result;
  for (int64_t i = 0; i < kInput.context && ids[i] != 0; ++i) result.push_back(static_cast<char>(ids[i]));
  return result;
}

bool holds(const Batch& batch, int64_t image) {
  const int64_t* images = batch.image_id.const_data_ptr<int64_t>();
  return std::find(images, images + batch.size(), image) != images + batch.size();
}

// Every element of every batch, made again in the plainest way.
TEST_F(LoaderTest, BatchesHoldWhatTheStreamSays) {
  const DataConfig data = augmented();
  const ImageTransform transform(data.image(), kInput.width, kInput.height);
  std::vector<int64_t> samples;
  for (int64_t i = 0; i < kImages; ++i) {
    if (i % 7 != 6 && i % 4 != 0) samples.push_back(i);
  }
  const UniformSampler sampler({{static_cast<int64_t>(samples.size()), 1}}, 5, 77);
  const std::vector<Batch> batches = load(data, {77, 5, {}, 0, 9});
  for (int64_t step = 0; step < 9; ++step) {
    const Batch& batch = batches[static_cast<size_t>(step)];
    ASSERT_EQ(batch.size(), 5);
    for (int64_t row = 0; row < 5; ++row) {
      const int64_t position = step * 5 + row;
      const int64_t image = samples[static_cast<size_t>(sampler.sample(position))];
      EXPECT_EQ(batch.position[row].item<int64_t>(), position);
      EXPECT_EQ(batch.image_id[row].item<int64_t>(), image);
      EXPECT_EQ(batch.identity[row].item<int64_t>(), store_->identity(image));
      const uint64_t choice = KeyedRandom(77, static_cast<uint64_t>(position), Purpose::kCaptionChoice)
                                  .next_below(static_cast<uint64_t>(image % 4));
      EXPECT_EQ(text(batch, row), fmt::format("{}/{}", image, choice));
      const std::vector<uint8_t> bytes = encode_jpeg(picture(image), 90);
      std::vector<float> expected(static_cast<size_t>(transform.floats()));
      transform.train(decode_image(bytes.data(), bytes.size(), ""), 77, static_cast<uint64_t>(position),
                      expected.data());
      const float* pixels = batch.images.const_data_ptr<float>() + row * transform.floats();
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), pixels));
    }
  }
}

// One of each sampler, for batches of 6.
std::vector<DataConfig> all_samplers() {
  std::vector<DataConfig> configs(4, augmented());
  configs[1].mutable_sampler()->mutable_identity()->set_samples(2);
  configs[2].mutable_sampler()->mutable_sen()->set_samples(2);
  configs[3].mutable_sampler()->mutable_image_unique();
  for (DataConfig& config : configs) config.set_captions(DataConfig::EVERY_CAPTION);
  return configs;
}

TEST_F(LoaderTest, RanksTogetherGiveTheBatchOfOne) {
  for (const DataConfig& data : all_samplers()) {
    const std::vector<Batch> whole = load(data, {1, 6, {}, 0, 9});
    for (const int ranks : {2, 3, 5, 8}) {  // of 8 ranks two have no rows
      std::vector<std::vector<Batch>> parts;
      for (int rank = 0; rank < ranks; ++rank) parts.push_back(load(data, {1, 6, {rank, ranks}, 0, 9}));
      for (size_t step = 0; step < whole.size(); ++step) {
        std::vector<Batch> batches;
        for (const std::vector<Batch>& part : parts) batches.push_back(part[step]);
        EXPECT_TRUE(same(whole[step], join(batches))) << ranks << " ranks, step " << step;
        EXPECT_LE(batches.front().size() - batches.back().size(), 1);
      }
    }
  }
}

TEST_F(LoaderTest, WorkersAndPrefetchChangeNothing) {
  const std::vector<Batch> expected = load(augmented(), {1, 7, {}, 0, 6});
  for (const auto& [workers, prefetch] : {std::pair(1, 1), std::pair(2, 1), std::pair(5, 3), std::pair(3, 100)}) {
    DataConfig data = augmented();
    data.set_workers(workers);
    data.set_prefetch(prefetch);
    const std::vector<Batch> batches = load(data, {1, 7, {}, 0, 6});
    for (size_t step = 0; step < expected.size(); ++step) EXPECT_TRUE(same(expected[step], batches[step]));
  }
}

TEST_F(LoaderTest, AnyStartGoesOnAsTheUnbrokenRun) {
  for (const DataConfig& data : all_samplers()) {
    const std::vector<Batch> expected = load(data, {1, 6, {}, 0, 13});
    for (int64_t first = 1; first < 13; ++first) {
      const std::vector<Batch> batches = load(data, {1, 6, {}, first, 13});
      for (size_t i = 0; i < batches.size(); ++i) {
        EXPECT_TRUE(same(expected[i + static_cast<size_t>(first)], batches[i]));
      }
    }
  }
}

TEST_F(LoaderTest, CaptionsAreChangedByPosition) {
  DataConfig data;
  data.mutable_text()->set_mask_tokens(0.5);
  data.mutable_text()->set_mask_share(1);
  const std::vector<Batch> plain = load(DataConfig(), {1, 6, {}, 0, 9}), masked = load(data, {1, 6, {}, 0, 9});
  for (size_t step = 0; step < plain.size(); ++step) {
    EXPECT_TRUE(at::equal(plain[step].images, masked[step].images));
    for (int64_t row = 0; row < 6; ++row) {
      std::vector<int64_t> ids(kInput.context);
      TextTransform(data.text(), tokenizer_)
          .encode(text(plain[step], row), 1, static_cast<uint64_t>(step) * 6 + static_cast<uint64_t>(row), ids.data(),
                  kInput.context);
      EXPECT_TRUE(
          std::equal(ids.begin(), ids.end(), masked[step].tokens.const_data_ptr<int64_t>() + row * kInput.context));
    }
    EXPECT_FALSE(at::equal(plain[step].tokens, masked[step].tokens));
  }
}

TEST_F(LoaderTest, IdentitiesStandTogetherIfAskedTo) {
  for (const Batch& batch : load(all_samplers()[1], {1, 6, {}, 0, 9})) {
    std::set<int64_t> identities;
    for (int64_t row = 0; row < 6; row += 2) {
      const int64_t identity = batch.identity[row].item<int64_t>();
      EXPECT_EQ(identity, batch.identity[row + 1].item<int64_t>());
      EXPECT_TRUE(identities.insert(identity).second);
    }
  }
}

TEST_F(LoaderTest, NoImageIsTwiceInABatchIfAskedSo) {
  for (const Batch& batch : load(all_samplers()[3], {1, 6, {}, 0, 9})) {
    const int64_t* images = batch.image_id.const_data_ptr<int64_t>();
    EXPECT_EQ(std::set<int64_t>(images, images + 6).size(), 6U);
  }
}

TEST_F(LoaderTest, TrainsOnTheSplitsThatAreNamed) {
  const auto images_of = [&](const DataConfig& data) {
    std::set<int64_t> images;
    for (const Batch& batch : load(data, {1, 2, {}, 0, 40})) {
      for (int64_t row = 0; row < 2; ++row) images.insert(batch.image_id[row].item<int64_t>());
    }
    return images;
  };
  std::set<int64_t> train, val;
  for (int64_t i = 0; i < kImages; ++i) {
    if (i % 4 != 0) (i % 7 == 6 ? val : train).insert(i);
  }
  DataConfig data;
  EXPECT_EQ(images_of(data), train);
  data.add_train_splits(DataConfig::VAL);
  EXPECT_EQ(images_of(data), val);
  data.add_train_splits(DataConfig::TRAIN);
  train.insert(val.begin(), val.end());
  EXPECT_EQ(images_of(data), train);
}

TEST_F(LoaderTest, SeveralStoresShareNoNumbersAndStandAsOftenAsTheySay) {
  write_store(folder_ / "second");
  const Store second(folder_ / "second");
  TrainingStores stores(*store_, 2);
  stores.add(second, 1);
  DataConfig data;
  const int64_t each = SampleList(*store_, data).size();
  ASSERT_EQ(make_sampler(SampleList(stores, data), data.sampler(), 3, 0)->steps_per_epoch(), each);
  Loader loader(stores, data, kInput, tokenizer_, {1, 3, {}, 0, each});
  std::map<int64_t, int> seen;
  for (int64_t step = 0; step < each; ++step) {
    const Batch batch = loader.next();
    for (int64_t row = 0; row < 3; ++row) {
      const int64_t image = batch.image_id[row].item<int64_t>();
      ++seen[image];
      const int64_t in_store = image % kImages;
      EXPECT_EQ(batch.identity[row].item<int64_t>(),
                store_->identity(in_store) + (image < kImages ? 0 : store_->identities()));
      EXPECT_THAT(text(batch, row), testing::StartsWith(fmt::format("{}/", in_store)));
    }
  }
  EXPECT_EQ(static_cast<int64_t>(seen.size()), 2 * each);
  for (const auto& [image, times] : seen) EXPECT_EQ(times, image < kImages ? 2 : 1) << image;
}

TEST_F(LoaderTest, TheFingerprintOfStoresIsOfAllAndTheirOrder) {
  write_store(folder_ / "second", 9);
  const Store second(folder_ / "second");
  const auto fingerprint = [](const Store& a, int64_t repeats, const Store& b) {
    TrainingStores stores(a, repeats);
    stores.add(b, 1);
    return stores.fingerprint();
  };
  EXPECT_EQ(TrainingStores(*store_).fingerprint(), store_->fingerprint());
  const std::set<std::string> distinct = {store_->fingerprint(),
                                          second.fingerprint(),
                                          TrainingStores(*store_, 2).fingerprint(),
                                          fingerprint(*store_, 1, second),
                                          fingerprint(*store_, 2, second),
                                          fingerprint(second, 1, *store_)};
  EXPECT_EQ(distinct.size(), 6U);
  EXPECT_THROW(TrainingStores(*store_, 0), std::logic_error);
}

TEST_F(LoaderTest, SeedsHaveBatchesOfTheirOwn) {
  EXPECT_FALSE(same(load(augmented(), {1, 7, {}, 0, 1})[0], load(augmented(), {2, 7, {}, 0, 1})[0]));
}

TEST_F(LoaderTest, RandomCaptionUsesThemAll) {
  std::map<std::string, int> seen;
  for (const Batch& batch : load(DataConfig(), {3, 7, {}, 0, 60})) {
    for (int64_t row = 0; row < batch.size(); ++row) ++seen[text(batch, row)];
  }
  int64_t captions = 0;
  for (const int64_t image : store_->images_of(Split::kTrain)) captions += store_->caption_count(image);
  EXPECT_EQ(static_cast<int64_t>(seen.size()), captions);
}

TEST_F(LoaderTest, EveryCaptionIsASampleOfItsOwn) {
  DataConfig data;
  data.set_captions(DataConfig::EVERY_CAPTION);
  int64_t captions = 0;
  for (const int64_t image : store_->images_of(Split::kTrain)) captions += store_->caption_count(image);
  std::set<std::string> seen;
  for (const Batch& batch : load(data, {3, captions, {}, 0, 1})) {
    for (int64_t row = 0; row < batch.size(); ++row) {
      EXPECT_TRUE(seen.insert(text(batch, row)).second);
      EXPECT_THAT(text(batch, row), testing::StartsWith(fmt::format("{}/", batch.image_id[row].item<int64_t>())));
    }
  }
  EXPECT_EQ(static_cast<int64_t>(seen.size()), captions);
  EXPECT_EQ(make_sampler(SampleList(*store_, data), data.sampler(), 5, 0)->steps_per_epoch(), captions / 5);
}

TEST_F(LoaderTest, ABatchIsItsOwners) {
  Loader loader(*store_, DataConfig(), kInput, tokenizer_, {1, 7, {}, 0, 20});
  const Batch first = loader.next();
  const at::Tensor images = first.images.clone();
  const at::Tensor view = loader.next().images.detach();  // all that is kept of the second: its memory
  const at::Tensor viewed = view.clone();
  while (true) {
    if (loader.next().position[0].item<int64_t>() == 19 * 7) break;
  }
  EXPECT_TRUE(at::equal(images, first.images));
  EXPECT_TRUE(at::equal(viewed, view));
  EXPECT_THROW(loader.next(), std::logic_error);
  EXPECT_GE(loader.waited_seconds(), 0);
}

TEST_F(LoaderTest, StopsAtOnceWhileItsWorkersAreBlocked) {
  for (const int64_t taken : {0, 1, 3}) {
    DataConfig data;
    data.set_workers(3);
    data.set_prefetch(2);
    Loader loader(*store_, data, kInput, tokenizer_, {1, 5, {}, 0, int64_t{1} << 40});
    for (int64_t i = 0; i < taken; ++i) loader.next();
  }
}

TEST_F(LoaderTest, ADamagedImageIsNamedAndTheBatchesBeforeItAreGiven) {
  const int64_t damaged = 9;
  write_store(folder_ / "damaged", damaged);
  const Store store(folder_ / "damaged");
  const std::vector<Batch> good = load(DataConfig(), {4, 3, {}, 0, 5});
  int64_t bad_step = 0;
  while (!holds(good[static_cast<size_t>(bad_step)], damaged)) ++bad_step;
  for (const int workers : {1, 4}) {
    DataConfig data;
    data.set_workers(workers);
    Loader loader(store, data, kInput, tokenizer_, {4, 3, {}, 0, 5});
    for (int64_t step = 0; step < bad_step; ++step) EXPECT_TRUE(same(loader.next(), good[static_cast<size_t>(step)]));
    for (int again = 0; again < 2; ++again) {
      try {
        loader.next();
        FAIL();
      } catch (const DataError& error) {
        EXPECT_THAT(error.what(), HasSubstr(fmt::format("step {}, image 9 of {}", bad_step, store.path())));
        EXPECT_THAT(error.what(), HasSubstr("pictures/9.jpg: damaged"));
      }
    }
  }
}

TEST_F(LoaderTest, OfManyErrorsTheFirstRowsIsReported) {
  class NoCaption : public ByteTokenizer {
   public:
    void encode(std::string_view caption, int64_t*, int64_t) const override { throw DataError(std::string(caption)); }
  };
  const NoCaption tokenizer;
  const std::string first = text(load(DataConfig(), {4, 9, {}, 0, 1})[0], 0);
  DataConfig data;
  data.set_workers(4);
  for (int again = 0; again < 10; ++again) {
    Loader loader(*store_, data, kInput, tokenizer, {4, 9, {}, 0, 1});
    try {
      loader.next();
      FAIL();
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), testing::EndsWith(first));
    }
  }
}

TEST_F(LoaderTest, OurOwnErrorsArriveAsTheyAre) {
  const FailingTokenizer tokenizer;
  Loader loader(*store_, DataConfig(), kInput, tokenizer, {4, 3, {}, 0, 5});
  EXPECT_THROW(loader.next(), std::length_error);
}

TEST_F(LoaderTest, RefusesWhatCannotWork) {
  const auto make = [&](const DataConfig& data, int64_t batch) {
    Loader(*store_, data, kInput, tokenizer_, {0, batch, {}, 0, 1});
  };
  EXPECT_THROW(make(DataConfig(), kImages), ConfigError);
  DataConfig data;
  data.set_workers(0);
  EXPECT_THROW(make(data, 4), ConfigError);
  data.Clear();
  data.set_prefetch(0);
  EXPECT_THROW(make(data, 4), ConfigError);
  data.Clear();
  data.mutable_image()->set_pad_crop(100);
  EXPECT_THROW(make(data, 4), ConfigError);
  data.Clear();
  data.mutable_sampler()->mutable_identity()->set_identities(3);
  EXPECT_THROW(make(data, 4), ConfigError);  // 3 x 4
  data.mutable_sampler()->mutable_identity()->set_identities(kImages);
  EXPECT_THROW(make(data, 4 * kImages), ConfigError);  // fewer identities
  data.mutable_sampler()->mutable_sen()->set_samples(3);
  EXPECT_THROW(make(data, 4), ConfigError);
  data.mutable_sampler()->mutable_sen()->set_samples(1);
  EXPECT_THROW(make(data, kImages), ConfigError);
  data.mutable_sampler()->mutable_image_unique();
  data.set_captions(DataConfig::EVERY_CAPTION);
  EXPECT_THROW(make(data, kImages), ConfigError);
}

TEST(SliceOf, CutsAsEvenlyAsCanBe) {
  for (int64_t total = 0; total < 20; ++total) {
    for (int size = 1; size < 7; ++size) {
      int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Slice slice = slice_of(total, {rank, size});
        EXPECT_EQ(slice.first, next);
        EXPECT_EQ(slice.count, total / size + (rank < total % size ? 1 : 0));
        next += slice.count;
      }
      EXPECT_EQ(next, total);
    }
  }
}

}  // namespace
}  // namespace muster
