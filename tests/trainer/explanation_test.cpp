#include "trainer/explanation.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/image.h"
#include "dataloader/store.h"
#include "dataloader/word_piece.h"
#include "launch/error.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"
#include "trainer/model_tokenizer.h"
#include "trainer/thumbnail.h"

namespace muster {
namespace {

constexpr int64_t kWidth = 8;
constexpr char kVocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nskate\n##board\ndog\n.\n";

RunSettings tiny_settings(const std::string& vocabulary) {
  RunSettings settings;
  ModelConfig& model = settings.model;
  model.mutable_regions()->set_width(kWidth);
  model.mutable_regions()->set_layers(1);
  model.mutable_regions()->set_hidden(12);
  model.mutable_regions()->set_joint_layers(1);
  model.mutable_regions()->set_joint_hidden(12);
  model.mutable_regions()->set_text_positions(12);
  model.mutable_text()->set_context(10);
  model.mutable_text()->set_vocabulary(10);
  model.mutable_text()->set_width(8);
  model.mutable_text()->set_layers(1);
  model.mutable_text()->set_heads(2);
  model.set_joint_width(8);
  model = resolve_model(model);
  settings.data.mutable_tokenizer()->set_kind(TokenizerConfig::WORDPIECE);
  settings.data.mutable_tokenizer()->set_vocabulary(vocabulary);
  return settings;
}

// Image 0 has a picture of 24 x 16, four regions, the last two of which are alike; image 1 one region and no picture.
class Explanation : public testing::Test {
 protected:
  Explanation() {
    std::ofstream(folder_ / "vocab.txt") << kVocabulary;
    StoreWriter::Options options;
    options.region_width = kWidth;
    StoreWriter writer(folder_ / "store", options);
    for (int image = 0; image < 2; ++image) {
      StoreRecord record;
      record.source_path = image == 0 ? "a.jpg" : "b";
      if (image == 0) record.image = encode_jpeg({24, 16, std::vector<uint8_t>(24 * 16 * 3, 90)}, 90);
      record.width = 24;
      record.height = 16;
      record.captions = {"a skateboard, a dog."};
      record.identity = record.source_path;
      for (int region = 0; region < (image == 0 ? 4 : 1); ++region) {
        const int kind = std::min(region, 2);
        for (int i = 0; i < kWidth; ++i) {
          record.regions.features.push_back((i * 7 + kind * 5) % 11 < 4 ? 0x3c00 : 0x3400);  // 1 and 0.25
        }
        const auto x = static_cast<float>(kind);
        record.regions.boxes.insert(record.regions.boxes.end(), {x, 1, x + 10, 15});
      }
      writer.add(record);
    }
    writer.finish();
    store_ = std::make_unique<Store>(folder_ / "store");
    settings_ = tiny_settings(folder_ / "vocab.txt");
    model_ = make_model(settings_.model, 3);
  }

  // [words, regions] of the model's own rows, by plain products.
  std::vector<std::vector<double>> plain_cosines(int64_t image, const at::Tensor& tokens) {
    model_->eval();
    const std::unique_ptr<Tokenizer> tokenizer = make_model_tokenizer(settings_.data, settings_.model);
    const EvaluationReader reader(*store_, settings_.data, input_size(settings_.model), *tokenizer);
    const at::Tensor regions = model_->encode_image_sets(reader.images({image})).set.rows.to(at::kDouble);
    const at::Tensor words = model_->encode_text_sets(tokens).set.rows.to(at::kDouble);
    std::vector<std::vector<double>> cosines;
    for (int64_t w = 0; w < words.size(0); ++w) {
      cosines.emplace_back();
      for (int64_t r = 0; r < regions.size(0); ++r) {
        const double lengths = words[w].norm().item<double>() * regions[r].norm().item<double>();
        cosines.back().push_back((words[w] * regions[r]).sum().item<double>() / lengths);
      }
    }
    return cosines;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Store> store_;
  RunSettings settings_;
  std::shared_ptr<Model> model_;
};

// Position of the largest, the lowest of several.
size_t first_largest(const std::vector<double>& values) {
  size_t best = 0;
  for (size_t i = 1; i < values.size(); ++i) {
    if (values[i] > values[best]) best = i;
  }
  return best;
}

double plain_score(const std::vector<std::vector<double>>& cosines, const AlignmentConfig& config) {
  double words = 0, regions = 0;
  for (const std::vector<double>& row : cosines) words += row[first_largest(row)];
  for (size_t r = 0; r < cosines[0].size(); ++r) {
    double most = cosines[0][r];
    for (const std::vector<double>& row : cosines) most = std::max(most, row[r]);
    regions += config.floor_at_zero() ? std::max(most, 0.0) : most;
  }
  switch (config.mode()) {
    case AlignmentConfig::MRSW:
      return words;
    case AlignmentConfig::MWSR:
      return regions;
    case AlignmentConfig::SYMM:
      return words + regions;
    case AlignmentConfig::MRAVGW:
      return words / static_cast<double>(cosines.size());
  }
  return 0;
}

TEST_F(Explanation, IsThatOfPlainProductsInEveryMode) {
  for (const auto mode :
       {AlignmentConfig::MRSW, AlignmentConfig::MWSR, AlignmentConfig::SYMM, AlignmentConfig::MRAVGW}) {
    for (const bool floor : {false, true}) {
      AlignmentConfig& alignment = *settings_.objective.mutable_alignment();
      alignment.set_mode(mode);
      alignment.set_floor_at_zero(floor);
      model_->train();
      const Explainer explainer(*model_, *store_, settings_);
      const std::string caption = "a skateboard . a dog .";
      const at::Tensor tokens = encode_words(explainer.tokenizer(), caption, 10, "caption", "explain");
      const ExplainedPair pair = explainer.explain(0, caption, tokens, kThumbnailPixels);
      EXPECT_TRUE(model_->is_training());
      const std::vector<std::vector<double>> cosines = plain_cosines(0, tokens);
      ASSERT_EQ(pair.words.size(), 7U);
      for (size_t word = 0; word < cosines.size(); ++word) {
        ASSERT_EQ(pair.words[word].cosines.size(), 4U);
        for (size_t r = 0; r < 4; ++r) EXPECT_NEAR(pair.words[word].cosines[r], cosines[word][r], 1e-12);
        EXPECT_EQ(best_regions(pair.words[word].cosines, 1)[0], static_cast<int64_t>(first_largest(cosines[word])));
      }
      EXPECT_NEAR(pair.score, plain_score(cosines, alignment), 1e-10);
      EXPECT_EQ(pair.regions_count, mode == AlignmentConfig::MWSR || mode == AlignmentConfig::SYMM);
      int64_t chosen = 0;
      double sum = 0;
      for (const ExplainedWord& word : pair.words) {
        chosen += word.chosen_by;
        sum += word.chosen_by_cosines;
      }
      EXPECT_EQ(chosen, 4);
      AlignmentConfig of_regions = alignment;
      of_regions.set_mode(AlignmentConfig::MWSR);
      EXPECT_NEAR(sum, plain_score(cosines, of_regions), 1e-10);
    }
  }
}

TEST_F(Explanation, EqualScoresGoToTheLowerNumber) {
  ExplainedPair pair;
  pair.boxes.resize(2);
  pair.words = {{"a", false, {-0.5, -0.25}}, {"b", false, {-0.5, -0.75}}};
  score_pair({true, true, false, false}, pair);
  EXPECT_EQ(pair.words[0].chosen_by, 2);
  EXPECT_EQ(pair.words[1].chosen_by, 0);
  EXPECT_DOUBLE_EQ(pair.score, -0.25 - 0.5 - 0.5 - 0.25);
  EXPECT_EQ(pair.score_rule,
            "the sum over words of the best region's cosine plus the sum over regions of the best word's cosine");
  pair = ExplainedPair();
  pair.boxes.resize(2);
  pair.words = {{"a", false, {-0.5, -0.25}}};
  score_pair({false, true, false, true}, pair);
  EXPECT_EQ(pair.score, 0);
  EXPECT_EQ(pair.score_rule, "the sum over regions of the best word's cosine, at least 0 each");
  EXPECT_EQ(score_rule({true, false, true, false}), "the mean over words of the best region's cosine");
}

TEST_F(Explanation, ShowsTheStoresPictureBoxesAndCaption) {
  const Explainer explainer(*model_, *store_, settings_);
  const ExplainedPair pair = explainer.explain(0, int64_t{0}, kThumbnailPixels);
  EXPECT_EQ(pair.caption, "a skateboard, a dog.");
  EXPECT_EQ(pair.image, "a.jpg");
  EXPECT_EQ(pair.width, 24);
  EXPECT_EQ(pair.height, 16);
  EXPECT_EQ(pair.picture, store_->image_bytes(0));
  ASSERT_EQ(pair.boxes.size(), 4U);
  EXPECT_EQ(pair.boxes[1], (std::array<float, 4>{1, 1, 11, 15}));
  std::vector<std::string> texts;
  for (const ExplainedWord& word : pair.words) texts.push_back(word.text);
  EXPECT_EQ(texts, (std::vector<std::string>{"a", "skate", "board", "[UNK]", "a", "dog", "."}));
  EXPECT_TRUE(pair.words[2].continues);
  EXPECT_FALSE(pair.words[3].continues);
  const ExplainedPair bare = explainer.explain(1, int64_t{1}, kThumbnailPixels);
  EXPECT_TRUE(bare.picture.empty());
  EXPECT_EQ(bare.boxes.size(), 1U);
  // A smaller picture is the same image: its boxes stay.
  const ExplainedPair small = explainer.explain(0, int64_t{0}, 12);
  const Image shrunk = decode_image(small.picture.data(), small.picture.size(), "it");
  EXPECT_EQ(shrunk.width, 12);
  EXPECT_EQ(shrunk.height, 8);
  EXPECT_EQ(small.width, 24);
  EXPECT_EQ(small.boxes, pair.boxes);
}

TEST_F(Explanation, TheLastPieceIsNoWordWhereTheModelDropsIt) {
  settings_.model.mutable_regions()->set_drop_last_word(true);
  const std::shared_ptr<Model> dropping = make_model(settings_.model, 3);
  const Explainer explainer(*dropping, *store_, settings_);
  const ExplainedPair pair = explainer.explain(0, int64_t{0}, kThumbnailPixels);
  EXPECT_EQ(pair.words.size(), 6U);
  EXPECT_EQ(pair.words.back().text, "dog");
  EXPECT_EQ(pair.left_out, ".");
  const at::Tensor one = encode_words(explainer.tokenizer(), "dog", 10, "caption", "explain");
  const ExplainedPair none = explainer.explain(0, "dog", one, kThumbnailPixels);
  EXPECT_TRUE(none.words.empty());
  EXPECT_EQ(none.left_out, "dog");
  EXPECT_EQ(none.score, 0);
}

TEST_F(Explanation, WeightsThatAreNotFiniteAreNamed) {
  const at::NoGradGuard no_graph;
  for (at::Tensor& parameter : model_->parameters()) parameter.fill_(NAN);
  const Explainer explainer(*model_, *store_, settings_);
  EXPECT_THROW(explainer.explain(0, int64_t{0}, kThumbnailPixels), NonFiniteError);
}

TEST_F(Explanation, AStoreWithoutRegionsIsRefused) {
  write_tiny_store(folder_ / "plain", 6);
  const Store plain(folder_ / "plain");
  EXPECT_THROW(Explainer(*model_, plain, settings_), ConfigError);
}

// What the pieces are is told by decoding: of byte pairs, where a word's end is marked, too.
TEST(CaptionPieces, AreTheTokensTexts) {
  const std::unique_ptr<Tokenizer> byte_pairs = make_tokenizer(TokenizerConfig());
  std::vector<int64_t> ids(16);
  byte_pairs->encode("a zxqwv dog", ids.data(), 16);
  int64_t count = 0;
  while (ids[static_cast<size_t>(count) + 1] != 49407) ++count;
  std::string text;
  for (const CaptionPiece& piece : caption_pieces(*byte_pairs, ids.data(), count)) {
    EXPECT_FALSE(piece.text.empty());
    text += (text.empty() || piece.continues ? "" : " ") + piece.text;
  }
  EXPECT_EQ(text, "a zxqwv dog");
  EXPECT_GT(count, 3);
}

}  // namespace
}  // namespace muster
