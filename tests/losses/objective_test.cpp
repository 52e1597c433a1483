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
using testing::AllOf;
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
  EXPECT_THAT(
      refusal("term { weight: 2 }"),
      HasSubstr("objective.term[0] names no loss: give one of info_nce, sdm, triplet, siglip, cmpm, tal, nt_xent, "
                "cyclic"));
  EXPECT_THAT(refusal("term { info_nce {} } term { weight: nan sdm {} }"), HasSubstr("objective.term[1].weight"));
  EXPECT_THAT(refusal("term { weight: inf sdm {} }"), HasSubstr("objective.term[0].weight"));
  EXPECT_THAT(refusal("term { weight: -1 sdm {} }"), HasSubstr("objective.term[0].weight is -1"));
  EXPECT_THAT(refusal("term { weight: 0 sdm {} }"), HasSubstr("only terms of weight 0"));
  EXPECT_THAT(refusal("term { pair: '' sdm {} }"), HasSubstr("objective.term[0].pair is empty"));
  EXPECT_THAT(refusal("term { info_nce { temperature: 0 } }"),
              HasSubstr("objective.term[0].info_nce.temperature is 0"));
  EXPECT_THAT(refusal("term { sdm { temperature: -1 } }"), HasSubstr("objective.term[0].sdm.temperature is -1"));
  EXPECT_THAT(refusal("term { sdm { epsilon: 0 } }"), HasSubstr("objective.term[0].sdm.epsilon"));
  EXPECT_THAT(refusal("term { cmpm { epsilon: nan } }"), HasSubstr("objective.term[0].cmpm.epsilon is nan"));
  EXPECT_THAT(refusal("term { siglip { temperature: inf } }"),
              HasSubstr("objective.term[0].siglip.temperature is inf"));
  EXPECT_THAT(refusal("term { triplet { margin: -0.1 } }"), HasSubstr("objective.term[0].triplet.margin"));
  EXPECT_THAT(refusal("term { triplet { margin: inf negatives: ALL } }"),
              HasSubstr("objective.term[0].triplet.margin"));
  EXPECT_THAT(refusal("term { tal { margin: -0.1 temperature: 0 } }"),
              AllOf(HasSubstr("objective.term[0].tal.margin is -0.1"), HasSubstr("tal.temperature is 0")));
  EXPECT_THAT(refusal("term { info_nce { self_target: 1 self_target_ramp_epochs: -1 } }"),
              AllOf(HasSubstr("objective.term[0].info_nce.self_target is 1: give 0 or more, below 1"),
                    HasSubstr("info_nce.self_target_ramp_epochs is -1")));
  EXPECT_THAT(refusal("term { cyclic { in_modal: -1 } }"), HasSubstr("objective.term[0].cyclic.in_modal is -1"));
  EXPECT_THAT(refusal("term { cyclic { in_modal: 0 cross_modal: 0 } }"),
              HasSubstr("objective.term[0].cyclic.in_modal and cross_modal are both 0"));
  EXPECT_THAT(refusal("logit_scale { init: 0 } term { sdm {} }"), HasSubstr("objective.logit_scale.init"));
  EXPECT_THAT(refusal("logit_scale { init: 200 } term { sdm {} }"), HasSubstr("objective.logit_scale.init is 200"));
  EXPECT_THAT(refusal("logit_scale { max: 0.5 } term { sdm {} }"), HasSubstr("objective.logit_scale.max"));
  EXPECT_THAT(refusal("logit_bias { init: nan } term { siglip {} }"), HasSubstr("objective.logit_bias.init is nan"));
  EXPECT_EQ(refusal("logit_scale { init: 200 learnable: false } term { sdm {} }"), "accepted");
}

TEST(Objective, TellsEverythingWrongAtOnce) {
  EXPECT_THAT(find_problems(parse_objective("term { weight: -1 } term { sdm { epsilon: 0 temperature: 0 } }")),
              testing::SizeIs(4));
}

TEST(Objective, NamesItsTerms) {
  LossObjective objective(parse_objective(
      "term { sdm {} } term { triplet {} } term { sdm { temperature: 1 } } term { pair: 'local' sdm {} } "
      "term { siglip {} } term { pair: 'local' sdm {} } term { cmpm {} } term { tal {} }"));
  EXPECT_EQ(objective.term_names(),
            (std::vector<std::string>{"sdm", "triplet", "sdm_2", "sdm.local", "siglip", "sdm.local_5", "cmpm", "tal"}));
}

TEST(Objective, HasABiasOnlyIfATermLearnsIt) {
  EXPECT_FALSE(LossObjective(parse_objective("term { info_nce {} }")).uses_logit_bias());
  const LossObjective fixed(parse_objective("logit_bias { init: -3 learnable: false } term { siglip {} }"));
  EXPECT_EQ(fixed.parameters().size(), 1U);
  EXPECT_EQ(fixed.logit_bias(), -3);
  LossObjective objective(parse_objective("term { siglip {} }"));
  ASSERT_EQ(objective.parameters().size(), 2U);
  EXPECT_EQ(objective.parameters()[0].first, "objective.log_scale");
  EXPECT_EQ(objective.parameters()[1].first, "objective.logit_bias");
  EXPECT_EQ(objective.logit_bias(), -10);
  EXPECT_TRUE(objective.uses_logit_bias());
  const at::Tensor leaf = objective.parameters()[1].second;
  const at::NoGradGuard no_grad;
  objective.set_logit_bias(-1.23456789012345);
  EXPECT_EQ(objective.logit_bias(), -1.23456789012345);
  leaf.fill_(-700.0);
  objective.clamp();
  EXPECT_EQ(objective.logit_bias(), -700);
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
    const Batch batch = make_batch(8, 6, 4, 2).weighted(3);
    batch.image[2].zero_();
    batch.text[5].zero_();
    batch.local_image[3].zero_();
    batch.local_text[3].zero_();
    const Objective config = parse_objective(objectives().back());
    LocalCommunicator local;
    LossObjective objective(config);
    const auto [features, labels] = slice(batch, {8}, 0, dtype);
    const LossResult result = objective.evaluate(features, labels, {}, local);
    const Answer expected = reference(config, batch.to(dtype), std::log(objective.logit_scale()));
    const double gate = dtype == at::kFloat ? 2e-5 : 1e-12;
    const Errors errors = compare(result, expected, {8}, 0, sum_parameters(objective, result, local));
    EXPECT_LE(errors.value, gate);
    EXPECT_LE(errors.gradient, gate);
    EXPECT_EQ(largest(result.gradient.pairs[0].image[2]), 0);
    EXPECT_EQ(largest(result.gradient.pairs[0].text[5]), 0);
    EXPECT_EQ(largest(result.gradient.pairs[1].image[3]), 0);
  }
}

// All losses of unit rows: not cmpm, whose logits are raw.
const std::string& unit_objective() {
  return objectives()[objectives().size() - 2];
}

// The value does not depend on the rows' lengths, however extreme; the gradient goes with their inverse.
TEST(Objective, RowsOfAnyLengthCount) {
  for (const auto& [dtype, factor] : {std::pair(at::kFloat, 1e30), std::pair(at::kDouble, 1e250)}) {
    const Batch batch = make_batch(8, 6, 4, 2);
    const LossResult plain = evaluate(unit_objective(), batch, dtype);
    const Batch scaled{batch.image * factor, batch.text * 1e-8, batch.identity, {}, {}, {}};
    const LossResult other = evaluate(unit_objective(), scaled, dtype);
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
      (in_image ? batch.local_image : batch.local_text)[8][0].fill_(bad);
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
  LossObjective objective(parse_objective("term { info_nce {} } term { sdm {} } term { siglip {} }"));
  const auto [features, labels] = slice(make_batch(9, 6, 4, 2), {9}, 0, at::kFloat);
  objective.set_log_scale(std::nan(""));
  for (const double term : objective.evaluate(features, labels, {}, local).terms) EXPECT_FALSE(std::isfinite(term));
  objective.set_log_scale(1);
  objective.set_logit_bias(std::nan(""));
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

TEST(Objective, TermsTakeThePairTheyName) {
  const Batch batch = make_batch(7, 6, 4, 2);
  const LossResult both = evaluate("term { pair: 'local' sdm {} } term { weight: 2 triplet {} }", batch, at::kDouble);
  EXPECT_EQ(both.gradient.pairs[1].name, "local");
  const Batch local{batch.local_image, batch.local_text, batch.identity, {}, {}, {}};
  EXPECT_DOUBLE_EQ(both.terms[0], evaluate("term { sdm {} }", local, at::kDouble).value);
  EXPECT_DOUBLE_EQ(both.terms[1], evaluate("term { triplet {} }", batch, at::kDouble).value);
  EXPECT_DOUBLE_EQ(both.value, both.terms[0] + 2 * both.terms[1]);
  const LossResult one = evaluate("term { pair: 'local' sdm {} }", batch, at::kDouble);
  EXPECT_TRUE(one.gradient.pairs[1].image.equal(both.gradient.pairs[1].image));
  EXPECT_EQ(one.gradient.pairs[0].text.sizes(), batch.text.sizes());
  EXPECT_EQ(largest(one.gradient.pairs[0].text), 0);
}

TEST(Objective, APairThatIsNotThereIsRefused) {
  try {
    evaluate("term { sdm {} } term { pair: 'grid' sdm {} }", make_batch(3, 6, 4, 2), at::kFloat);
    FAIL() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("objective.term[1].pair is \"grid\", but the features have only global, local"));
  }
}

// Sample weights.

LossResult evaluate_weighted(const std::string& text, Batch batch, const std::vector<double>& weight) {
  batch.weight = at::zeros({batch.identity.size(0)}, at::kDouble);
  std::copy(weight.begin(), weight.end(), batch.weight.data_ptr<double>());
  return evaluate(text, batch, at::kDouble);
}

TEST(Weights, OfOneChangeNothing) {
  const Batch batch = make_batch(7, 6, 4, 2);
  const LossResult plain = evaluate(objectives().back(), batch, at::kDouble);
  const LossResult weighted = evaluate_weighted(objectives().back(), batch, std::vector<double>(7, 1.0));
  EXPECT_EQ(plain.value, weighted.value);
  EXPECT_TRUE(plain.gradient.pairs[0].text.equal(weighted.gradient.pairs[0].text));
}

TEST(Weights, DivideAMeanAndMultiplyASum) {
  const Batch batch = make_batch(7, 6, 4, 2);
  for (const std::string& text : objectives()) {
    const LossResult plain = evaluate(text, batch, at::kDouble);
    const LossResult doubled = evaluate_weighted(text, batch, std::vector<double>(7, 2.0));
    for (size_t i = 0; i < plain.terms.size(); ++i) {
      const Term term = parse_objective(text).term(static_cast<int>(i));
      const bool is_sum = (term.has_triplet() && term.triplet().reduction() == SUM) ||
                          (term.has_tal() && term.tal().reduction() == SUM);
      EXPECT_NEAR(doubled.terms[i], (is_sum ? 2 : 1) * plain.terms[i], 1e-12 * std::fabs(plain.terms[i])) << text;
    }
  }
}

TEST(Weights, AllZeroGiveZero) {
  const LossResult result = evaluate_weighted(objectives().back(), make_batch(7, 6, 4, 2), std::vector<double>(7, 0.0));
  EXPECT_EQ(result.value, 0);
  for (const FeaturePair& pair : result.gradient.pairs) EXPECT_EQ(largest(pair.image) + largest(pair.text), 0);
}

TEST(Weights, ThatCannotBeAreRefusedOnEveryRank) {
  for (const double bad : {-1.0, std::nan(""), HUGE_VAL}) {
    Batch batch = make_batch(5, 6, 4, 2).weighted(1);
    batch.weight[4].fill_(bad);
    EXPECT_THROW(run_ranks(2,
                           [&](Communicator& communicator) {
                             LossObjective objective(parse_objective("term { sdm {} }"));
                             const auto [features, labels] = slice(batch, {3, 2}, communicator.rank(), at::kFloat);
                             objective.evaluate(features, labels, {}, communicator);
                           }),
                 DataError);
  }
}

TEST(Weights, OnSomeRanksOnlyAreRefused) {
  const Batch batch = make_batch(5, 6, 4, 2).weighted(1);
  for (const int64_t rows : {3, 5}) {
    const auto run = [&] {
      run_ranks(2, [&](Communicator& communicator) {
        LossObjective objective(parse_objective("term { sdm {} }"));
        auto [features, labels] = slice(batch, {rows, 5 - rows}, communicator.rank(), at::kFloat);
        if (communicator.rank() == 1) labels.weight = at::Tensor();
        objective.evaluate(features, labels, {}, communicator);
      });
    };
    if (rows == 5) {
      EXPECT_NO_THROW(run());  // a rank without rows fits both
    } else {
      EXPECT_THROW(run(), CommError);
    }
  }
}

}  // namespace
}  // namespace muster
