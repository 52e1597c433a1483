#include "dataloader/evaluation_reader.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>

#include "dataloader/random.h"
#include "launch/error.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using testing::HasSubstr;

constexpr InputSize kInput{12, 16, 3};

class FirstByte : public Tokenizer {
 public:
  void encode(std::string_view caption, int64_t* ids, int64_t context) const override {
    if (caption == "c5" || caption == "c7") fail(caption);
    for (int64_t i = 0; i < context; ++i) ids[i] = caption.back() + i;
  }
  int64_t vocabulary() const override { return 300; }
  Ordinary ordinary() const override { return {1, 255, 255}; }
  std::string decode(const int64_t*, int64_t) const override { return ""; }

 private:
  // Both are begun before either fails, and c5 hangs back, so that the first of a list is not the first in time.
  void fail(std::string_view caption) const {
    ++failing_;
    while (failing_ % 2 != 0) std::this_thread::yield();
    for (int i = 0; caption == "c5" && i < 1000; ++i) std::this_thread::yield();
    throw DataError(fmt::format("{} is not UTF-8", caption));
  }

  mutable std::atomic<int> failing_{0};
};

// Images 0 .. 9 with caption "cN" each; images 4 and 6 cannot be decoded.
std::vector<uint8_t> jpeg(int64_t number) {
  KeyedRandom random(2, static_cast<uint64_t>(number), Purpose::kSynth);
  Image image = allocate_image(14, 11, "test");
  for (uint8_t& value : image.pixels) value = static_cast<uint8_t>(random.next_below(256));
  std::vector<uint8_t> bytes = encode_jpeg(image, 90);
  if (number == 4 || number == 6) bytes.resize(bytes.size() / 2);
  return bytes;
}

class EvaluationReaderTest : public testing::Test {
 protected:
  EvaluationReaderTest() {
    StoreWriter writer(folder_ / "store");
    for (int64_t i = 0; i < 10; ++i) {
      StoreRecord record;
      record.source_path = fmt::format("{}.jpg", i);
      record.image = jpeg(i);
      record.width = 14;
      record.height = 11;
      record.captions = {fmt::format("c{}", i)};
      record.identity = "one";
      record.split = Split::kTest;
      writer.add(record);
    }
    writer.finish();
    store_.emplace(folder_ / "store");
    data_.mutable_image()->set_flip(true);
    data_.mutable_image()->set_pad_crop(5);
  }

  TemporaryFolder folder_;
  std::optional<Store> store_;
  DataConfig data_;
  FirstByte tokenizer_;
};

TEST_F(EvaluationReaderTest, ImagesAreThoseAskedForWithoutAugmentation) {
  const ImageTransform transform(data_.image(), kInput.width, kInput.height);
  const std::vector<int64_t> numbers = {9, 0, 3, 3, 1};
  for (const int workers : {1, 2, 8}) {
    data_.set_workers(workers);
    const EvaluationReader reader(*store_, data_, kInput, tokenizer_);
    const at::Tensor images = reader.images(numbers).images;
    ASSERT_EQ(images.sizes(), (std::vector<int64_t>{5, 3, 16, 12}));
    for (size_t i = 0; i < numbers.size(); ++i) {
      const std::vector<uint8_t> bytes = jpeg(numbers[i]);
      std::vector<float> expected(static_cast<size_t>(transform.floats()));
      transform.evaluate(decode_image(bytes.data(), bytes.size(), ""), expected.data());
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), images.const_data_ptr<float>() + i * expected.size()));
    }
    EXPECT_EQ(reader.images({}).images.size(0), 0);
  }
}

TEST_F(EvaluationReaderTest, TokensAreThoseAskedFor) {
  const EvaluationReader reader(*store_, data_, kInput, tokenizer_);
  const at::Tensor tokens = reader.tokens({8, 2});
  ASSERT_EQ(tokens.sizes(), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(std::vector<int64_t>(tokens.const_data_ptr<int64_t>(), tokens.const_data_ptr<int64_t>() + 6),
            (std::vector<int64_t>{'8', '9', '8' + 2, '2', '3', '4'}));
}

TEST_F(EvaluationReaderTest, TheFirstErrorOfTheListIsReported) {
  data_.set_workers(4);
  const EvaluationReader reader(*store_, data_, kInput, tokenizer_);
  for (int again = 0; again < 20; ++again) {
    try {
      reader.images({0, 6, 1, 4, 2});
      FAIL();
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(fmt::format("image 6 of {}: 6.jpg: damaged", store_->path())));
    }
    try {
      reader.tokens({1, 7, 5});
      FAIL();
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("c7 is not UTF-8"));
    }
  }
}

TEST_F(EvaluationReaderTest, RefusesNoWorkers) {
  data_.set_workers(0);
  EXPECT_THROW(EvaluationReader(*store_, data_, kInput, tokenizer_), ConfigError);
}

}  // namespace
}  // namespace muster
