// Folds: the mean of parts that are evaluated alone, on any ranks.
#include "trainer/evaluation.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <fstream>
#include <numeric>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "launch/error.h"
#include "tests/support/temporary_folder.h"
#include "trainer/retrieval/ndcg.h"

namespace muster {
namespace {

constexpr int64_t kImages = 24, kFolds = 4, kWidth = 9;

// All of a split: 0 to 4 captions an image, two images an identity.
struct Whole {
  std::vector<int64_t> images, captions, caption_images, identity;
  at::Tensor image, text;     // a row each
  at::Tensor regions, words;  // sets
  std::vector<int64_t> region_sizes, word_sizes;
};

Whole make_whole() {
  at::Generator generator = at::detail::createCPUGenerator(4);
  Whole whole;
  for (int64_t i = 0; i < kImages; ++i) {
    whole.images.push_back(100 + i);
    whole.identity.push_back(i / 2);
    whole.region_sizes.push_back(1 + i % 4);
    for (int64_t k = 0; k < (i == 5 ? 0 : 1 + i % 4); ++k) {
      whole.captions.push_back(static_cast<int64_t>(whole.captions.size()));
      whole.caption_images.push_back(100 + i);
      whole.word_sizes.push_back((i + k) % 5);
    }
  }
  const auto rows = [&](const std::vector<int64_t>& sizes) {
    return at::randn({std::accumulate(sizes.begin(), sizes.end(), int64_t{0}), kWidth}, generator, at::kFloat);
  };
  whole.image = at::randn({kImages, kWidth}, generator, at::kFloat);
  whole.text = at::randn({static_cast<int64_t>(whole.captions.size()), kWidth}, generator, at::kFloat);
  whole.regions = rows(whole.region_sizes);
  whole.words = rows(whole.word_sizes);
  return whole;
}

EmbeddingSets cut(const at::Tensor& rows, const std::vector<int64_t>& sizes, const at::Tensor& identity, Slice part) {
  const auto begin = sizes.begin() + part.first, end = begin + part.count;
  const int64_t first = std::accumulate(sizes.begin(), begin, int64_t{0});
  return {rows.narrow(0, first, std::accumulate(begin, end, int64_t{0})), {begin, end}, identity};
}

// Images [first, first + count) with their captions, as a split of its own; this rank's rows.
SplitEmbeddings part_of(const Whole& whole, int64_t first, int64_t count, bool sets, const Shard& shard) {
  SplitEmbeddings split;
  std::vector<int64_t> caption_identity, image_identity;
  int64_t first_caption = -1;
  split.images.assign(whole.images.begin() + first, whole.images.begin() + first + count);
  image_identity.assign(whole.identity.begin() + first, whole.identity.begin() + first + count);
  for (size_t c = 0; c < whole.captions.size(); ++c) {
    const int64_t image = whole.caption_images[c] - 100;
    if (image < first || image >= first + count) continue;
    if (first_caption < 0) first_caption = static_cast<int64_t>(c);
    split.captions.push_back(whole.captions[c]);
    split.caption_images.push_back(whole.caption_images[c]);
    caption_identity.push_back(whole.identity[static_cast<size_t>(image)]);
  }
  const Slice images = slice_of(count, shard);
  const Slice captions = slice_of(static_cast<int64_t>(split.captions.size()), shard);
  const at::Tensor of_images = at::tensor(image_identity, at::kLong).narrow(0, images.first, images.count);
  const at::Tensor of_captions = at::tensor(caption_identity, at::kLong).narrow(0, captions.first, captions.count);
  split.image_rows = {whole.image.narrow(0, first + images.first, images.count), of_images};
  split.text_rows = {whole.text.narrow(0, first_caption + captions.first, captions.count), of_captions};
  if (!sets) return split;
  split.sets.emplace();
  split.sets->images = cut(whole.regions, whole.region_sizes, of_images, {first + images.first, images.count});
  split.sets->texts = cut(whole.words, whole.word_sizes, of_captions, {first_caption + captions.first, captions.count});
  return split;
}

std::string write_relevances(const TemporaryFolder& folder, const std::string& name, const at::Tensor& rows) {
  const std::string path = folder / name;
  const at::Tensor all = rows.contiguous();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(all.const_data_ptr<float>()), static_cast<std::streamsize>(all.nbytes()));
  return path;
}

TEST(Folds, AreTheMeanOfPartsAlone) {
  const TemporaryFolder folder;
  const Whole whole = make_whole();
  at::Generator generator = at::detail::createCPUGenerator(9);
  const auto captions = static_cast<int64_t>(whole.captions.size());
  const at::Tensor relevances = at::randn({captions, kImages}, generator, at::kFloat).clamp_min(0);
  const std::string path = write_relevances(folder, "whole", relevances);
  LocalCommunicator alone;
  for (const bool sets : {false, true}) {
    std::vector<RetrievalMetrics> texts, images;
    NamedNdcg mean;
    int64_t first_caption = 0;
    for (int64_t fold = 0; fold < kFolds; ++fold) {
      const int64_t first = fold * kImages / kFolds, count = kImages / kFolds;
      const SplitEmbeddings part = part_of(whole, first, count, sets, {0, 1});
      const auto own = static_cast<int64_t>(part.captions.size());
      const std::string of_part =
          write_relevances(folder, "part", relevances.narrow(0, first_caption, own).narrow(1, first, count));
      EvaluationProtocol protocol;
      protocol.relevances.push_back({"drawn", std::make_shared<RelevanceFile>(of_part, own, count)});
      const EvaluationRecord record = evaluate_embeddings(part, Split::kTest, 1, alone, protocol);
      texts.push_back(record.text_to_image);
      images.push_back(record.image_to_text);
      mean.text_to_image += record.ndcg.at(0).text_to_image / kFolds;
      mean.image_to_text += record.ndcg.at(0).image_to_text / kFolds;
      first_caption += own;
    }
    ASSERT_EQ(first_caption, captions);
    const RetrievalMetrics truth = mean_of(texts), other = mean_of(images);
    for (const int ranks : {1, 2, 3, 4}) {
      run_ranks(ranks, [&](Communicator& communicator) {
        const SplitEmbeddings all = part_of(whole, 0, kImages, sets, {communicator.rank(), ranks});
        EvaluationProtocol protocol{kFolds, {}};
        protocol.relevances.push_back({"drawn", std::make_shared<RelevanceFile>(path, captions, kImages)});
        const EvaluationRecord record = evaluate_embeddings(all, Split::kTest, 1, communicator, protocol);
        EXPECT_EQ(record.folds, kFolds);
        for (const auto& [made, due] : {std::pair{record.text_to_image, truth}, {record.image_to_text, other}}) {
          EXPECT_EQ(made.r1, due.r1);
          EXPECT_EQ(made.r5, due.r5);
          EXPECT_EQ(made.map, due.map);
          EXPECT_EQ(made.median_rank, due.median_rank);
          EXPECT_EQ(made.mean_rank, due.mean_rank);
          EXPECT_EQ(made.queries, due.queries);
          EXPECT_EQ(made.gallery, due.gallery);
        }
        EXPECT_EQ(record.ndcg.at(0).text_to_image, mean.text_to_image);
        EXPECT_EQ(record.ndcg.at(0).image_to_text, mean.image_to_text);
      });
    }
    const EvaluationRecord one = evaluate_embeddings(part_of(whole, 0, kImages, sets, {0, 1}), Split::kTest, 1, alone);
    EXPECT_EQ(one.text_to_image.gallery, kImages);
    EXPECT_LT(one.text_to_image.r1, truth.r1);
  }
}

TEST(Folds, ThatDoNotDivideTheImagesAreRefused) {
  LocalCommunicator alone;
  const SplitEmbeddings all = part_of(make_whole(), 0, kImages, false, {0, 1});
  for (const int64_t folds : {5, 7, 48}) {
    EXPECT_THROW(evaluate_embeddings(all, Split::kTest, 1, alone, {folds, {}}), ConfigError) << folds;
  }
}

// numpy: median([1, 3]) = 2, floor(median([1, 4])) = 2.
TEST(Folds, MedianAndMeanRanks) {
  RetrievalMetrics first, second;
  first.median_rank = 2;
  first.mean_rank = 5;
  first.gallery = second.gallery = 10;
  first.queries = 3;
  second.median_rank = 5;
  second.mean_rank = 6;
  second.queries = 4;
  const RetrievalMetrics mean = mean_of({first, second});
  EXPECT_EQ(mean.median_rank, 3.5);
  EXPECT_EQ(mean.mean_rank, 5.5);
  EXPECT_EQ(mean.queries, 7);
  EXPECT_EQ(mean.gallery, 10);
}

}  // namespace
}  // namespace muster
