// What losses are worth where one can say it without them: degenerate batches, ties, closed forms.
#include <ATen/ops/roll.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "tests/losses/loss_reference.h"
#include "trainer/losses/objective.h"

namespace muster {
namespace {

using namespace loss_test;

// Degenerate batches.

TEST(Degenerate, ABatchOfOnePairIsFinite) {
  const Batch batch = make_batch(1, 6, 1, 2);
  for (const std::string& text : objectives()) {
    const LossResult result = evaluate(text, batch, at::kFloat);
    EXPECT_TRUE(std::isfinite(result.value)) << text;
    EXPECT_TRUE(std::isfinite(largest(result.gradient.pairs[0].image))) << text;
  }
}

TEST(Degenerate, WithoutNegativesThereIsNoLoss) {
  const Batch batch = make_batch(6, 5, 1, 2);
  for (const std::string text : {"term { triplet {} }", "term { triplet { negatives: ALL } }",
                                 "term { triplet { negatives: SOFT } }", "term { tal {} }"}) {
    const LossResult result = evaluate(text, batch, at::kFloat);
    EXPECT_EQ(result.value, 0) << text;
    EXPECT_EQ(largest(result.gradient.pairs[0].image), 0) << text;
  }
}

// Cosines of 1 and -1 alone, at the highest scales.
TEST(Degenerate, SaturatedLogitsDoNotOverflow) {
  Batch batch = make_batch(8, 6, 4, 2);
  batch.image.copy_(batch.image[0].clone().expand({8, 6}));
  batch.text.copy_(batch.image);
  batch.text.narrow(0, 0, 4).neg_();
  batch.image.mul_(1e4);
  for (const std::string& text : objectives()) {
    LossObjective objective(parse_objective(text));
    objective.set_log_scale(std::log(100.0));
    LocalCommunicator local;
    const auto [features, labels] = slice(batch, {8}, 0, at::kFloat);
    const LossResult result = objective.evaluate(features, labels, {}, local);
    EXPECT_TRUE(std::isfinite(result.value)) << text;
    for (const FeaturePair& pair : result.gradient.pairs) {
      EXPECT_TRUE(std::isfinite(largest(pair.image)) && std::isfinite(largest(pair.text))) << text;
    }
    for (const at::Tensor& gradient : result.parameter_grads) EXPECT_TRUE(std::isfinite(gradient.item<double>()));
  }
}

// Closed forms.

LossResult evaluate_in_epoch(double epoch, const std::string& text, const Batch& batch) {
  LocalCommunicator local;
  LossObjective objective(parse_objective(text), TileShape{5, 4, 3});
  const auto [features, labels] = slice(batch, {batch.identity.size(0)}, 0, at::kDouble);
  return objective.evaluate(features, labels, {0, epoch}, local);
}

// The ramp begins without a self-target and is over after its epochs; on the way gradients are 1 - share of those
// without.
TEST(InfoNce, TheSelfTargetGrowsOverItsEpochs) {
  const Batch batch = make_batch(13, 8, 6, 2);
  const std::string plain = "term { info_nce { positives: IDENTITY } }";
  const std::string ramped = "term { info_nce { positives: IDENTITY self_target: 0.5 self_target_ramp_epochs: 2 } }";
  const LossResult without = evaluate(plain, batch, at::kDouble);
  for (const auto& [epoch, share] : {std::pair{0.0, 0.0}, {0.5, 0.125}, {1.5, 0.375}, {2.0, 0.5}, {7.0, 0.5}}) {
    const LossResult result = evaluate_in_epoch(epoch, ramped, batch);
    const std::string fixed = "term { info_nce { positives: IDENTITY self_target: " + std::to_string(share) + " } }";
    EXPECT_NEAR(result.value, evaluate(share == 0 ? plain : fixed, batch, at::kDouble).value, 1e-14);
    for (const auto side : {&FeaturePair::image, &FeaturePair::text}) {
      const at::Tensor got = result.gradient.pairs[0].*side, expected = without.gradient.pairs[0].*side * (1 - share);
      EXPECT_LE(largest(got - expected), 1e-14 * largest(expected)) << "epoch " << epoch;
    }
    EXPECT_NEAR(result.parameter_grads[0].item<double>(), without.parameter_grads[0].item<double>() * (1 - share),
                1e-14);
  }
}

// Captions that are their images have the same similarities among themselves; turned ones too, but not across.
TEST(Cyclic, IsZeroWhereSimilaritiesAgree) {
  Batch batch = make_batch(9, 6, 4, 2);
  batch.text = batch.image * 3;
  EXPECT_NEAR(evaluate("term { cyclic {} }", batch, at::kDouble).value, 0, 1e-14);
  batch.text = batch.image.flip(1);
  EXPECT_NEAR(evaluate("term { cyclic { cross_modal: 0 } }", batch, at::kDouble).value, 0, 1e-14);
  batch.text = batch.image.roll(1, 1);
  EXPECT_NEAR(evaluate("term { cyclic { cross_modal: 0 } }", batch, at::kDouble).value, 0, 1e-14);
  EXPECT_GT(evaluate("term { cyclic {} }", batch, at::kDouble).value, 1e-3);
}

TEST(Triplet, TiesGoToTheLowestIndex) {
  // Image 0 is as far from captions 1, 2 and 3 as can be told; only caption 1 may feel it.
  const at::Tensor image = at::zeros({4, 4}, at::kDouble);
  const at::Tensor text = at::zeros({4, 4}, at::kDouble);
  image[0][0] = 1;
  for (int64_t j = 0; j < 4; ++j) text[j][0] = 1;
  for (int64_t i = 1; i < 4; ++i) image[i][3] = -1;
  const Batch batch{image, text, at::arange(4, at::kLong), {}, {}, {}};
  const LossResult result = evaluate("term { triplet { margin: 0.5 reduction: SUM } }", batch, at::kDouble);
  // Row 0: 0.5. Rows 1 to 3: cosines 0 everywhere, 0.5 each. Column 0: positive 1, negatives 0, nothing. Columns 1 to
  // 3: positive 0, hardest negative row 0 with 1, 1.5 each.
  EXPECT_DOUBLE_EQ(result.value, 4 * 0.5 + 3 * 1.5);
  const at::Tensor image_gradient = result.gradient.pairs[0].image;
  EXPECT_EQ(largest(image_gradient.narrow(0, 0, 1).narrow(1, 1, 3)), 0);
  // Rows 1 to 3 as anchors: + text of the lowest other index, - own text: all texts are equal, so it cancels; as
  // positives of columns 1 to 3: - text each.
  for (int64_t i = 1; i < 4; ++i) EXPECT_DOUBLE_EQ(image_gradient[i][0].item<double>(), -1);
}

TEST(Triplet, TheHardestOfEqualNegativesIsTheLowestAcrossTilesAndRanks) {
  // Captions 1 and 2 are one and the same vector; so are images 1 and 2.
  const Batch batch = make_batch(6, 5, 100000, 31);
  for (const at::Tensor& rows : {batch.image, batch.text}) rows[2].copy_(rows[1]);
  for (const at::Tensor& rows : {batch.image, batch.text}) rows[0].copy_(rows[1] + 0.01 * rows[0]);
  std::vector<at::Tensor> gradients;
  for (const int ranks : {1, 2, 3}) {
    std::vector<at::Tensor> parts(static_cast<size_t>(ranks));
    run_ranks(ranks, [&](Communicator& communicator) {
      LossObjective objective(parse_objective("term { triplet { margin: 0.3 } }"), TileShape{1, 1, 1});
      const auto [features, labels] = slice(batch, split_rows(6, ranks), communicator.rank(), at::kDouble);
      parts[static_cast<size_t>(communicator.rank())] =
          objective.evaluate(features, labels, {}, communicator).gradient.pairs[0].text;
    });
    gradients.push_back(at::zeros({0, 5}, at::kDouble));
    at::Tensor whole = at::zeros({6, 5}, at::kDouble);
    int64_t row = 0;
    for (const at::Tensor& part : parts) {
      whole.narrow(0, row, part.size(0)).copy_(part);
      row += part.size(0);
    }
    gradients.back() = whole;
  }
  EXPECT_LE(largest(gradients[1] - gradients[0]), 1e-14);
  EXPECT_LE(largest(gradients[2] - gradients[0]), 1e-14);
}

TEST(Sdm, OfOnePairIsMinusLogOfOnePlusEpsilon) {
  const Batch batch = make_batch(1, 6, 1, 2);
  const LossResult result = evaluate("term { sdm { epsilon: 1e-3 } }", batch, at::kDouble);
  EXPECT_NEAR(result.value, -2 * std::log1p(1e-3), 1e-15);
}

TEST(Cmpm, OfOnePairIsMinusLogOfOnePlusEpsilon) {
  const Batch batch = make_batch(1, 6, 1, 2);
  EXPECT_NEAR(evaluate("term { cmpm { epsilon: 1e-3 } }", batch, at::kDouble).value, -2 * std::log1p(1e-3), 1e-15);
}

TEST(Siglip, OfOrthogonalPairsIsSoftplusOfTheBias) {
  const at::Tensor rows = at::eye(6, at::kDouble);
  const Batch batch{rows.narrow(0, 0, 3), rows.narrow(0, 3, 3), at::arange(3, at::kLong), {}, {}, {}};
  const double value = evaluate("logit_bias { init: -10 } term { siglip {} }", batch, at::kDouble).value;
  EXPECT_NEAR(value, (3 * std::log1p(std::exp(10.0)) + 6 * std::log1p(std::exp(-10.0))) / 3, 1e-13);
}

TEST(Triplet, OfTwoPairsIsTheSameWhateverTheNegatives) {
  const Batch batch = make_batch(2, 6, 1000, 2);
  const double all = evaluate("term { triplet { margin: 0.5 negatives: ALL } }", batch, at::kDouble).value;
  EXPECT_GT(all, 0);
  EXPECT_NEAR(all, evaluate("term { triplet { margin: 0.5 } }", batch, at::kDouble).value, 1e-15);
  // An anchor has one negative: top_k is no more.
  EXPECT_NEAR(all, evaluate("term { triplet { margin: 0.5 negatives: SOFT top_k: 50 } }", batch, at::kDouble).value,
              1e-13);
}

TEST(Triplet, SoftIsTheHardestWhenColdAndKAlikeCountAsOne) {
  const Batch batch = make_batch(9, 6, 1000, 2);
  const double hardest = evaluate("term { triplet { margin: 0.3 } }", batch, at::kDouble).value;
  EXPECT_GT(evaluate("term { triplet { margin: 0.3 negatives: SOFT temperature: 0.05 } }", batch, at::kDouble).value,
            hardest);
  EXPECT_NEAR(evaluate("term { triplet { margin: 0.3 negatives: SOFT temperature: 1e-5 } }", batch, at::kDouble).value,
              hardest, 1e-3);
  // All captions but the first are the same: an image's negatives are alike, and three of them are one.
  Batch alike = make_batch(4, 6, 1000, 2);
  alike.text.narrow(0, 1, 3).copy_(alike.text[1].clone().expand({3, 6}));
  Batch one = alike;
  one.image = alike.image.narrow(0, 0, 2);
  one.text = alike.text.narrow(0, 0, 2);
  one.identity = alike.identity.narrow(0, 0, 2);
  // Only the first image is an anchor of weight, and its caption.
  alike.weight = at::zeros({4}, at::kDouble);
  alike.weight[0].fill_(1);
  alike.image.narrow(0, 2, 2).copy_(alike.image[1].clone().expand({2, 6}));
  one.weight = alike.weight.narrow(0, 0, 2);
  EXPECT_NEAR(
      evaluate("term { triplet { margin: 2.5 negatives: SOFT temperature: 0.1 top_k: 3 } }", alike, at::kDouble).value,
      evaluate("term { triplet { margin: 2.5 } }", one, at::kDouble).value, 1e-13);
}

TEST(Tal, BoundsTheHardestTripletFromAboveAndMeetsItWhenCold) {
  const Batch batch = make_batch(9, 6, 1000, 2);
  const double hardest = evaluate("term { triplet { margin: 0.3 reduction: SUM } }", batch, at::kDouble).value;
  EXPECT_GT(evaluate("term { tal { margin: 0.3 temperature: 0.05 } }", batch, at::kDouble).value, hardest);
  EXPECT_NEAR(evaluate("term { tal { margin: 0.3 temperature: 1e-5 } }", batch, at::kDouble).value, hardest, 1e-3);
}

TEST(NtXent, OfSinglePositivesIsInfoNce) {
  const Batch batch = make_batch(9, 6, 1000, 2);
  const LossResult nt_xent = evaluate("term { nt_xent {} }", batch, at::kDouble);
  const LossResult info_nce = evaluate("term { info_nce { positives: IDENTITY } }", batch, at::kDouble);
  EXPECT_NEAR(nt_xent.value, info_nce.value, 1e-14);
  EXPECT_LE(largest(nt_xent.gradient.pairs[0].text - info_nce.gradient.pairs[0].text), 1e-15);
}

// Positives that are as good as they can be do not push each other away, as they do in info_nce.
TEST(NtXent, OfPerfectFeaturesIsNearZero) {
  const at::Tensor rows = at::eye(3, at::kDouble).repeat_interleave(2, 0);
  const Batch batch{rows, rows, at::arange(6, at::kLong).div(2, "floor"), {}, {}, {}};
  EXPECT_NEAR(evaluate("term { nt_xent { temperature: 0.1 } }", batch, at::kDouble).value,
              std::log1p(4 * std::exp(-10.0)), 1e-15);
  EXPECT_GT(evaluate("term { info_nce { positives: IDENTITY temperature: 0.1 } }", batch, at::kDouble).value, 0.69);
}

TEST(NtXent, WithoutNegativesIsZero) {
  const LossResult result = evaluate("term { nt_xent {} }", make_batch(5, 6, 1, 2), at::kDouble);
  EXPECT_EQ(result.value, 0);
  EXPECT_EQ(largest(result.gradient.pairs[0].image) + largest(result.gradient.pairs[0].text), 0);
}

TEST(InfoNce, OfEqualCosinesIsLogB) {
  const Batch batch = make_batch(7, 3, 100000, 2);
  batch.text.copy_(batch.text[0].clone().expand({7, 3}));
  batch.image.copy_(batch.text);
  EXPECT_NEAR(evaluate("term { info_nce {} }", batch, at::kDouble).value, std::log(7.0), 1e-14);
}

}  // namespace
}  // namespace muster
