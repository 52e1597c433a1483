// NDCG and ROUGE-L against the published formulas in Python (tests/peers/make_relevances.py), relevance files that are
// wrong, and the best items of sets.
#include "trainer/retrieval/ndcg.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "launch/error.h"
#include "tests/support/temporary_folder.h"
#include "trainer/retrieval/rouge_l.h"

namespace muster {
namespace {

using Json = nlohmann::json;

const Json& golden() {
  static const Json all = Json::parse(std::ifstream(MUSTER_SOURCE_DIR "/tests/golden/relevances.json"));
  return all;
}

std::string write_matrix(const TemporaryFolder& folder, const std::vector<std::vector<float>>& rows) {
  const std::string path = folder / "relevances.f32";
  std::ofstream file(path, std::ios::binary);
  for (const auto& row : rows) {
    file.write(reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(row.size() * sizeof(float)));
  }
  return path;
}

at::Tensor items_of(const Json& rows, int64_t first, int64_t count) {
  const at::Tensor items = at::empty({count, static_cast<int64_t>(rows[0].size())}, at::kLong);
  auto* item = items.mutable_data_ptr<int64_t>();
  for (int64_t i = first; i < first + count; ++i) {
    for (const auto& one : rows[static_cast<size_t>(i)]) *item++ = one.get<int64_t>();
  }
  return items;
}

TEST(RougeL, IsPycocoevalcaps) {
  const RougeL rouge(golden()["captions"].get<std::vector<std::vector<std::string>>>());
  const auto& truth = golden()["rouge_l"];
  ASSERT_EQ(rouge.captions(), static_cast<int64_t>(truth.size()));
  RougeL::Scratch scratch;
  std::vector<float> row(static_cast<size_t>(rouge.images()));
  for (const int pass : {0, 1}) {
    for (int64_t caption = rouge.captions() - 1; caption >= 0; --caption) {
      rouge.compare(caption, scratch, row.data());
      for (size_t image = 0; image < row.size(); ++image) {
        EXPECT_NEAR(static_cast<double>(row[image]), truth[static_cast<size_t>(caption)][image].get<double>(), 1e-7)
            << "caption " << caption << ", image " << image << ", pass " << pass;
      }
    }
  }
}

TEST(RougeL, AnImageWithoutCaptionsHasNone) {
  const RougeL rouge({{"a dog"}, {}, {"a cat"}});
  RougeL::Scratch scratch;
  std::vector<float> row(3, 7.0F);
  rouge.compare(0, scratch, row.data());
  EXPECT_FLOAT_EQ(row[0], 1);
  EXPECT_EQ(row[1], 0);
  EXPECT_FLOAT_EQ(row[2], 0.5F);
}

TEST(Ndcg, IsThePublishedCodesOnAnyRanks) {
  const TemporaryFolder folder;
  const std::string path = write_matrix(folder, golden()["relevances"].get<std::vector<std::vector<float>>>());
  double of_one = 0;
  for (const int ranks : {1, 2, 3, 4}) {
    run_ranks(ranks, [&](Communicator& communicator) {
      const RelevanceFile file(path, 60, 40);
      NdcgScope scope;
      scope.caption_rows = split_rows(60, ranks);
      scope.image_rows = split_rows(40, ranks);
      if (ranks == 3) scope.caption_rows = {0, 60, 0};
      int64_t caption = 0, image = 0;
      const auto rank = static_cast<size_t>(communicator.rank());
      for (size_t r = 0; r < rank; ++r) caption += scope.caption_rows[r];
      for (size_t r = 0; r < rank; ++r) image += scope.image_rows[r];
      const BestItems best{items_of(golden()["of_texts"], caption, scope.caption_rows[rank]),
                           items_of(golden()["of_images"], image, scope.image_rows[rank])};
      const Ndcg made = ndcg(file, best, scope, communicator);
      EXPECT_NEAR(made.text_to_image, golden()["text_to_image"].get<double>(), 1e-7);
      EXPECT_NEAR(made.image_to_text, golden()["image_to_text"].get<double>(), 1e-7);
      if (ranks == 1) of_one = made.text_to_image;
      EXPECT_EQ(made.text_to_image, of_one);
    });
  }
}

// Captions 20 to 49 and images 10 to 29 of the file: as a file of these alone.
TEST(Ndcg, APartOfAFileIsAFileOfThatPart) {
  const TemporaryFolder folder, other;
  const auto whole = golden()["relevances"].get<std::vector<std::vector<float>>>();
  std::vector<std::vector<float>> part;
  for (size_t row = 20; row < 50; ++row) part.emplace_back(whole[row].begin() + 10, whole[row].begin() + 30);
  LocalCommunicator alone;
  BestItems best{at::empty({30, 5}, at::kLong), at::empty({20, 4}, at::kLong)};
  for (int64_t i = 0; i < 150; ++i) best.of_texts.mutable_data_ptr<int64_t>()[i] = (i * 7) % 20;
  for (int64_t i = 0; i < 80; ++i) best.of_images.mutable_data_ptr<int64_t>()[i] = (i * 11) % 30;
  const Ndcg in_whole = ndcg(RelevanceFile(write_matrix(folder, whole), 60, 40), best, {20, 10, {30}, {20}}, alone);
  const Ndcg of_part = ndcg(RelevanceFile(write_matrix(other, part), 30, 20), best, {0, 0, {30}, {20}}, alone);
  EXPECT_EQ(in_whole.text_to_image, of_part.text_to_image);
  EXPECT_EQ(in_whole.image_to_text, of_part.image_to_text);
  EXPECT_GT(of_part.text_to_image, 0);
}

std::string refusal(const std::function<void()>& work) {
  try {
    work();
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

TEST(RelevanceFile, OfAnotherSizeOrWithoutNumbersIsRefused) {
  const TemporaryFolder folder;
  const std::string path = write_matrix(folder, {{0, 1}, {0.5F, std::nanf("")}, {-1, 3e38F}});
  EXPECT_EQ(
      refusal([&] { RelevanceFile(path, 3, 3); }),
      path +
          ": has 24 bytes, and relevances of 3 captions and 3 images are 36 (raw float32, a row of all images for "
          "each caption); make them for this split: muster relevance");
  const RelevanceFile file(path, 3, 2);
  std::vector<float> row(2);
  file.read(0, 0, 2, row.data());
  EXPECT_EQ(row, (std::vector<float>{0, 1}));
  EXPECT_EQ(refusal([&] { file.read(1, 0, 2, row.data()); }),
            path + ": the relevance of image 1 to caption 1 is nan; relevances are 0 to 100");
  EXPECT_EQ(refusal([&] { file.read(2, 0, 1, row.data()); }),
            path + ": the relevance of image 0 to caption 2 is -1; relevances are 0 to 100");
  EXPECT_NE(refusal([&] { file.read(2, 1, 1, row.data()); }).find("is 3e+38; relevances are 0 to 100"),
            std::string::npos);
  EXPECT_EQ(refusal([&] { RelevanceFile(folder / "none", 3, 3); }), (folder / "none") + ": No such file or directory");
}

}  // namespace
}  // namespace muster
