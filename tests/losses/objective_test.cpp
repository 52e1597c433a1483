// The objective's contract beside exactness: what it refuses, its parameter, and rows that are not ordinary.
#include "trainer/losses/objective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "launch/error.h"
#include "tests/losses/loss_reference.h"

namespace muster {
namespace {

using namespace loss_test;
using testing::HasSubstr;

std::string refusal(const std::string& text) {
  try {
    LossObjective objective(parse_objective(text));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Objective, RefusesWhatCannotWorkAndNamesTheField) {
  EXPECT_THAT(refusal(""), HasSubstr("objective has no term"));
  EXPECT_THAT(refusal("term { weight: 2 }"), HasSubstr("objective.term[0] names no loss"));
  EXPECT_THAT(refusal("term { info_nce {} } term { weight: nan sdm {} }"), HasSubstr("objective.term[1].weight"));
  EXPECT_THAT(refusal("term { weight: inf sdm {} }"), HasSubstr("objective.term[0].weight"));
  EXPECT_THAT(refusal("term { info_nce { temperature: 0 } }"), HasSubstr("objective.term[0].info_nce.temperature: 0"));
  EXPECT_THAT(refusal("term { sdm { temperature: -1 } }"), HasSubstr("objective.term[0].sdm.temperature: -1"));
  EXPECT_THAT(refusal("term { sdm { epsilon: 0 } }"), HasSubstr("objective.term[0].sdm.epsilon"));
  EXPECT_THAT(refusal("term { triplet { margin: -0.1 } }"), HasSubstr("objective.term[0].triplet.margin"));
  EXPECT_THAT(refusal("logit_scale { init: 0 } term { sdm {} }"), HasSubstr("objective.logit_scale.init"));
  EXPECT_THAT(refusal("logit_scale { init: 200 } term { sdm {} }"), HasSubstr("objective.logit_scale.init: 200"));
  EXPECT_THAT(refusal("logit_scale { max: 0.5 } term { sdm {} }"), HasSubstr("objective.logit_scale.max"));
  EXPECT_EQ(refusal("logit_scale { init: 200 learnable: false } term { sdm {} }"), "accepted");
}

TEST(Objective, NamesItsTerms) {
  LossObjective objective(parse_objective("term { sdm {} } term { triplet {} } term { sdm { temperature: 1 } }"));
  EXPECT_EQ(objective.term_names(), (std::vector<std::string>{"sdm", "triplet", "sdm_2"}));
}

TEST(Objective, HasAParameterOnlyIfATermLearnsIt) {
  EXPECT_TRUE(LossObjective(parse_objective("term { triplet {} }")).parameters().empty());
  EXPECT_TRUE(LossObjective(parse_objective("term { sdm { temperature: 0.02 } }")).parameters().empty());
  EXPECT_TRUE(LossObjective(parse_objective("logit_scale { learnable: false } term { sdm {} }")).parameters().empty());
  const LossObjective objective(parse_objective("term { sdm {} }"));
  ASSERT_EQ(objective.parameters().size(), 1U);
  const auto& [name, leaf] = objective.parameters()[0];
  EXPECT_EQ(name, "objective.log_scale");
  EXPECT_TRUE(leaf.requires_grad() && leaf.is_leaf());
  EXPECT_EQ(leaf.scalar_type(), at::kFloat);
  EXPECT_EQ(leaf.dim(), 0);
  EXPECT_NEAR(objective.logit_scale(), 1 / 0.07, 1e-5);
}

TEST(Objective, FollowsItsLeafAndClampsIt) {
  LossObjective objective(parse_objective("logit_scale { init: 10 max: 50 } term { sdm {} }"));
  const at::Tensor leaf = objective.parameters()[0].second;
  const at::NoGradGuard no_grad;
  objective.set_log_scale(1.23456789012345);
  EXPECT_EQ(objective.logit_scale(), std::exp(1.23456789012345));
  EXPECT_EQ(leaf.item<float>(), 1.23456789012345F);
  leaf.fill_(9.0);
  EXPECT_EQ(objective.logit_scale(), std::exp(9.0));
  objective.clamp();
  EXPECT_NEAR(objective.logit_scale(), 50, 1e-4);
  leaf.fill_(-1.0);
  objective.clamp();
  EXPECT_EQ(objective.logit_scale(), 1);
  EXPECT_TRUE(leaf.requires_grad());
}

LossResult evaluate(const std::string& text, const Batch& batch, at::ScalarType dtype) {
  LocalCommunicator local;
  LossObjective objective(parse_objective(text), TileShape{5, 4, 3});
  const auto [features, labels] = slice(batch, {batch.identity.size(0)}, 0, dtype);
  return objective.evaluate(features, labels, {}, local);
}

TEST(Objective, TakesLiveAndStridedFeatures) {
  LocalCommunicator local;
  LossObjective objective(parse_objective(objectives().back()));
  const Batch batch = make_batch(10, 6, 5, 1);
  auto [features, labels] = slice(batch, {10}, 0, at::kFloat);
  const LossResult plain = objective.evaluate(features, labels, {}, local);
  features.pairs[0].image = features.pairs[0].image.t().contiguous().t().requires_grad_(true);
  const LossResult other = objective.evaluate(features, labels, {}, local);
  EXPECT_EQ(plain.value, other.value);
  EXPECT_TRUE(plain.gradient.pairs[0].image.equal(other.gradient.pairs[0].image));
  EXPECT_EQ(other.gradient.pairs[0].name, "global");
  EXPECT_FALSE(other.gradient.pairs[0].image.requires_grad());
}

TEST(Objective, ZeroRowsHaveCosineZeroAndNoGradient) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const Batch batch = make_batch(8, 6, 4, 2);
    batch.image[2].zero_();
    batch.text[5].zero_();
    const Objective config = parse_objective(objectives().back());
    LocalCommunicator local;
    LossObjective objective(config);
    const auto [features, labels] = slice(batch, {8}, 0, dtype);
    const LossResult result = objective.evaluate(features, labels, {}, local);
    const Batch same{batch.image.to(dtype), batch.text.to(dtype), batch.identity};
    const Answer expected = reference(config, same, std::log(objective.logit_scale()));
    const double gate = dtype == at::kFloat ? 2e-5 : 1e-12;
    const Errors errors = compare(result, expected, {8}, 0, result.parameter_grads.at(0).item<double>());
    EXPECT_LE(errors.value, gate);
    EXPECT_LE(errors.gradient, gate);
    EXPECT_EQ(largest(result.gradient.pairs[0].image[2]), 0);
    EXPECT_EQ(largest(result.gradient.pairs[0].text[5]), 0);
  }
}

// The value does not depend on the rows' lengths, however extreme; the gradient goes with their inverse.
TEST(Objective, RowsOfAnyLengthCount) {
  for (const auto& [dtype, factor] : {std::pair(at::kFloat, 1e30), std::pair(at::kDouble, 1e250)}) {
    const Batch batch = make_batch(8, 6, 4, 2);
    const LossResult plain = evaluate(objectives().back(), batch, dtype);
    const Batch scaled{batch.image * factor, batch.text * 1e-8, batch.identity};
    const LossResult other = evaluate(objectives().back(), scaled, dtype);
    EXPECT_NEAR(other.value, plain.value, 1e-5 * std::fabs(plain.value));
    const at::Tensor gradient = other.gradient.pairs[0].image.to(at::kDouble) * factor;
    EXPECT_LE(largest(gradient - plain.gradient.pairs[0].image.to(at::kDouble)),
              1e-4 * largest(plain.gradient.pairs[0].image));
  }
}

TEST(Objective, FeaturesThatAreNotFiniteMakeEveryTermNanOnEveryRank) {
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    for (const bool in_image : {true, false}) {
      const Batch batch = make_batch(9, 6, 4, 2);
      (in_image ? batch.image : batch.text)[4][3].fill_(bad);
      run_ranks(3, [&](Communicator& communicator) {
        LossObjective objective(parse_objective(objectives().back()), TileShape{2, 3, 2});
        const auto [features, labels] = slice(batch, split_rows(9, 3), communicator.rank(), at::kFloat);
        const LossResult result = objective.evaluate(features, labels, {}, communicator);
        EXPECT_TRUE(std::isnan(result.value));
        for (const double term : result.terms) EXPECT_TRUE(std::isnan(term));
      });
    }
  }
}

TEST(Objective, AScaleThatIsNotFiniteShowsInTheValue) {
  LocalCommunicator local;
  LossObjective objective(parse_objective("term { info_nce {} } term { sdm {} }"));
  objective.set_log_scale(std::nan(""));
  const auto [features, labels] = slice(make_batch(9, 6, 4, 2), {9}, 0, at::kFloat);
  EXPECT_FALSE(std::isfinite(objective.evaluate(features, labels, {}, local).value));
}

TEST(Objective, AnEmptyGlobalBatchIsRefusedOnEveryRank) {
  const Batch batch = make_batch(1, 6, 1, 2);
  EXPECT_THROW(run_ranks(2,
                         [&](Communicator& communicator) {
                           LossObjective objective(parse_objective("term { sdm {} }"));
                           const auto [features, labels] = slice(batch, {0, 0}, communicator.rank(), at::kFloat);
                           objective.evaluate(features, labels, {}, communicator);
                         }),
               DataError);
}

TEST(Objective, RanksWithDifferentWidthsAreTold) {
  EXPECT_THROW(run_ranks(2,
                         [&](Communicator& communicator) {
                           LossObjective objective(parse_objective("term { sdm {} }"));
                           const auto [features, labels] =
                               slice(make_batch(3, 6 + communicator.rank(), 1, 2), {3}, 0, at::kFloat);
                           objective.evaluate(features, labels, {}, communicator);
                         }),
               CommError);
}

// Closed forms.

TEST(Triplet, TiesGoToTheLowestIndex) {
  // Image 0 is as far from captions 1, 2 and 3 as can be told; only caption 1 may feel it.
  const at::Tensor image = at::zeros({4, 4}, at::kDouble);
  const at::Tensor text = at::zeros({4, 4}, at::kDouble);
  image[0][0] = 1;
  for (int64_t j = 0; j < 4; ++j) text[j][0] = 1;
  for (int64_t i = 1; i < 4; ++i) image[i][3] = -1;
  const Batch batch{image, text, at::arange(4, at::kLong)};
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

TEST(InfoNce, OfEqualCosinesIsLogB) {
  const Batch batch = make_batch(7, 3, 100000, 2);
  batch.text.copy_(batch.text[0].clone().expand({7, 3}));
  batch.image.copy_(batch.text);
  EXPECT_NEAR(evaluate("term { info_nce {} }", batch, at::kDouble).value, std::log(7.0), 1e-14);
}

}  // namespace
}  // namespace muster
