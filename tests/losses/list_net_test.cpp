// One pair's scores taught to another's: against the whole batch in double by autograd, and ALADIN's own formula.
#include <gtest/gtest.h>

#include <ATen/ops/log_softmax.h>

#include <mutex>

#include "comm/thread_communicator.h"
#include "launch/error.h"
#include "tests/losses/loss_reference.h"

namespace muster {
namespace {

using namespace loss_test;

constexpr double kLogScale = 1.2;

const std::vector<std::string>& taught_objectives() {
  static const std::vector<std::string> all = {
      "term { list_net { teacher: 'local' } }",
      "term { weight: 0.3 list_net { teacher: 'local' temperature: 0.05 teacher_temperature: 0.02 } }",
      "term { pair: 'local' weight: 2 list_net { teacher: 'global' teacher_temperature: 0.1 } }",
      "term { pair: 'local' triplet { margin: 0.3 } } term { weight: 4 list_net { teacher: 'local' } } "
      "term { weight: 0.5 info_nce {} } term { list_net { teacher: 'local' teacher_temperature: 0.1 } }",
  };
  return all;
}

TEST(ListNet, EqualsTheWholeBatchInDouble) {
  for (const int64_t size : {2, 7, 33}) {
    for (const bool weighted : {false, true}) {
      const Batch plain = make_batch(size, 12, size / 2 + 1, 5);
      const Batch batch = weighted ? plain.weighted(3) : plain;
      for (const std::string& text : taught_objectives()) {
        const Objective config = parse_objective(text);
        for (const auto& [dtype, gate] : {std::pair{at::kFloat, 2e-5}, {at::kDouble, 1e-11}}) {
          const Batch cast = batch.to(dtype);
          const Answer expected = reference(config, cast, kLogScale);
          for (const int ranks : {1, 2, 3, 4}) {
            for (const std::vector<int64_t>& rows : ways_to_cut(size, ranks)) {
              std::mutex mutex;
              Errors worst;
              run_ranks(ranks, [&](Communicator& communicator) {
                const Errors errors = errors_on_rank(config, TileShape{5, 4, 3}, cast, expected, kLogScale, rows, dtype,
                                                     communicator, communicator);
                const std::lock_guard lock(mutex);
                worst.value = std::max(worst.value, errors.value);
                worst.gradient = std::max(worst.gradient, errors.gradient);
              });
              EXPECT_LE(worst.value, gate) << text << " B " << size << ", " << ranks << " ranks";
              EXPECT_LE(worst.gradient, gate) << text << " B " << size << ", " << ranks << " ranks";
            }
          }
        }
      }
    }
  }
}

// alad/loss.py: -mean(sum(softmax(teacher) log(softmax(6 student) + 1e-10))), rows and columns.
TEST(ListNet, IsAladinsCrossEntropyLessTheTeachersEntropy) {
  const Batch batch = make_batch(24, 12, 24, 8);
  const double loss = evaluate("term { list_net { teacher: 'local' } }", batch, at::kDouble).value;
  const at::Tensor s = unit(batch.image).mm(unit(batch.text).t());
  const at::Tensor t = unit(batch.local_image).mm(unit(batch.local_text).t());
  double cross_entropy = 0, entropy = 0;
  for (const int64_t side : {1, 0}) {
    const at::Tensor q = at::softmax(t, side);
    cross_entropy -= (q * (at::softmax(6.0 * s, side) + 1e-10).log()).sum(side).mean().item<double>();
    entropy -= (q * q.log()).sum(side).mean().item<double>();
  }
  EXPECT_NEAR(loss, cross_entropy - entropy, 1e-8);
  EXPECT_GT(loss, 1e-3);
}

TEST(ListNet, OfItsOwnScoresIsZero) {
  Batch batch = make_batch(20, 12, 20, 8);
  batch.local_image = batch.image;
  batch.local_text = batch.text;
  const LossResult result =
      evaluate("term { list_net { teacher: 'local' temperature: 0.5 teacher_temperature: 0.5 } }", batch, at::kDouble);
  EXPECT_NEAR(result.value, 0, 1e-12);
  EXPECT_LE(largest(result.gradient.pairs[0].image), 1e-12);
}

TEST(ListNet, OfABatchOfOneIsZero) {
  const LossResult result = evaluate("term { list_net { teacher: 'local' } }", make_batch(1, 12, 1, 8), at::kFloat);
  EXPECT_NEAR(result.value, 0, 1e-5);
  EXPECT_LE(largest(result.gradient.pairs[0].text), 1e-5);
}

TEST(ListNet, ATeacherThatIsNotFiniteMakesTheTermNaNOnEveryRank) {
  Batch batch = make_batch(8, 6, 8, 2);
  batch.local_text[7][0].fill_(std::numeric_limits<double>::quiet_NaN());
  run_ranks(2, [&](Communicator& communicator) {
    LossObjective objective(parse_objective("term { list_net { teacher: 'local' } }"));
    const auto [features, labels] = slice(batch, {4, 4}, communicator.rank(), at::kDouble);
    EXPECT_TRUE(std::isnan(objective.evaluate(features, labels, {}, communicator).value));
  });
}

TEST(ListNet, TeachersThatAreTaughtOrAbsentAreRefused) {
  const std::vector<std::string> problems = find_problems(
      parse_objective("term { list_net { teacher: 'local' } } term { pair: 'local' list_net { teacher: 'global' } }"));
  ASSERT_FALSE(problems.empty());
  EXPECT_NE(problems[0].find("objective.term[0] is taught by the pair \"local\", which objective.term[1] teaches"),
            std::string::npos)
      << problems[0];
  EXPECT_FALSE(find_problems(parse_objective("term { list_net { teacher: 'global' } }")).empty());
  const Batch batch = make_batch(4, 6, 4, 2);
  try {
    evaluate("term { list_net { teacher: 'alignment' } }", batch, at::kDouble);
    FAIL() << "no error";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "objective.term[0].list_net.teacher is \"alignment\", but the features have only global, local; give "
                 "one of those");
  }
}

// A term counts in its steps alone.
TEST(TermSteps, OneLossFollowsAnother) {
  const Batch batch = make_batch(12, 8, 12, 4);
  const std::string sum = "term { end_step: 3 triplet { negatives: ALL } }";
  const std::string hardest = "term { begin_step: 3 pair: 'local' triplet {} }";
  LossObjective objective(parse_objective(sum + hardest));
  LocalCommunicator alone;
  const auto [features, labels] = slice(batch, {12}, 0, at::kDouble);
  const double first = evaluate("term { triplet { negatives: ALL } }", batch, at::kDouble).value;
  const double second = evaluate("term { pair: 'local' triplet {} }", batch, at::kDouble).value;
  for (const int64_t step : {0, 2, 3, 100}) {
    const LossResult result = objective.evaluate(features, labels, {step, 0}, alone);
    const bool early = step < 3;
    EXPECT_DOUBLE_EQ(result.value, early ? first : second) << step;
    EXPECT_EQ(result.terms[early ? 1 : 0], 0);
    EXPECT_EQ(objective.counts_at(0, step), early);
    EXPECT_EQ(objective.counts_at(1, step), !early);
    EXPECT_EQ(largest(result.gradient.pairs[early ? 1 : 0].image), 0);
    EXPECT_GT(largest(result.gradient.pairs[early ? 0 : 1].image), 0);
  }
}

TEST(TermSteps, StepsWithoutATermAreRefused) {
  const auto problem = [](const std::string& text) {
    const std::vector<std::string> problems = find_problems(parse_objective(text));
    return problems.empty() ? "" : problems[0];
  };
  EXPECT_EQ(problem("term { end_step: 3 triplet {} } term { begin_step: 3 sdm {} }"), "");
  EXPECT_EQ(problem("term { end_step: 5 triplet {} } term { begin_step: 3 sdm {} }"), "");
  EXPECT_EQ(problem("term { end_step: 3 triplet {} } term { begin_step: 4 sdm {} }"),
            "objective has no term that counts at step 3: let one's begin_step and end_step reach over it");
  EXPECT_EQ(problem("term { begin_step: 1 sdm {} }"),
            "objective has no term that counts at step 0: let one's begin_step and end_step reach over it");
  EXPECT_EQ(problem("term { end_step: 3 triplet {} } term { weight: 0 sdm {} }"),
            "objective has no term that counts at step 3: let one's begin_step and end_step reach over it");
  EXPECT_EQ(problem("term { begin_step: 2 end_step: 2 triplet {} } term { sdm {} }"),
            "objective.term[0].end_step is 2: give more than begin_step (2)");
}

}  // namespace
}  // namespace muster
