#include "trainer/collapse_alarm.h"

#include <gtest/gtest.h>

#include "tests/losses/loss_reference.h"

namespace muster {
namespace {

// What it says, step by step, and in which step.
std::vector<int64_t> spoken(CollapseAlarm& alarm, const std::vector<std::vector<double>>& steps) {
  std::vector<int64_t> at;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (!alarm.observe(static_cast<int64_t>(i) + 1, steps[i]).empty()) at.push_back(static_cast<int64_t>(i) + 1);
  }
  return at;
}

TEST(CollapseAlarm, SpeaksOnceAfterItsSteps) {
  CollapseAlarm alarm({0, 0.4}, {"info_nce", "triplet"});
  std::vector<std::vector<double>> steps(10, {0.4, 0.9});
  steps.insert(steps.end(), 2 * CollapseAlarm::kSteps, {0.1, 0.4007});
  EXPECT_EQ(spoken(alarm, steps), std::vector<int64_t>{10 + CollapseAlarm::kSteps});
}

TEST(CollapseAlarm, CountsAnewAfterAStepThatIsNotNear) {
  CollapseAlarm alarm({16.0}, {"triplet"});
  std::vector<std::vector<double>> steps(CollapseAlarm::kSteps - 1, {16.0});
  steps.push_back({15.0});
  steps.insert(steps.end(), CollapseAlarm::kSteps - 1, {16.01});
  EXPECT_TRUE(spoken(alarm, steps).empty());
  EXPECT_EQ(spoken(alarm, {{16.0}}).size(), 1U);
  const std::vector<std::vector<double>> again(CollapseAlarm::kSteps, {16.0});
  EXPECT_TRUE(spoken(alarm, again).empty());
  EXPECT_TRUE(spoken(alarm, {{1.0}}).empty());
  EXPECT_EQ(spoken(alarm, again), std::vector<int64_t>{CollapseAlarm::kSteps});
}

TEST(CollapseAlarm, ATermThatCannotCollapseMayBeZero) {
  CollapseAlarm alarm({0}, {"info_nce"});
  EXPECT_TRUE(spoken(alarm, std::vector<std::vector<double>>(2 * CollapseAlarm::kSteps, {0.0})).empty());
}

TEST(CollapseAlarm, NamesTheTermAndWhatToDo) {
  CollapseAlarm alarm({0.4}, {"triplet.alignment"});
  std::string told;
  for (int64_t step = 1; step <= CollapseAlarm::kSteps; ++step) told = alarm.observe(step, {0.4});
  EXPECT_NE(told.find("step 50: triplet.alignment has been at 0.4 for 50 steps"), std::string::npos) << told;
}

// The value it waits for is the loss's own where all scores are equal.
TEST(CollapseAlarm, ValuesAreTheLosses) {
  using namespace loss_test;
  Batch batch = make_batch(16, 8, 16, 1);
  batch.image = at::ones({16, 8}, at::kDouble);
  batch.text = batch.image.clone();
  batch.local_image = batch.local_text = at::Tensor();
  for (const std::string text : {"term { triplet { margin: 0.2 } }", "term { triplet { margin: 0.3 reduction: SUM } }",
                                 "term { tal { margin: 0.2 negatives: HARDEST } }",
                                 "term { tal { margin: 0.1 negatives: HARDEST reduction: MEAN } }"}) {
    const LossObjective objective(parse_objective(text));
    EXPECT_NEAR(evaluate(text, batch, at::kDouble).value, objective.collapsed_value(0, 16), 1e-9) << text;
  }
  for (const std::string text : {"term { info_nce {} }", "term { tal {} }", "term { triplet { negatives: ALL } }",
                                 "term { triplet { negatives: SOFT } }"}) {
    EXPECT_EQ(LossObjective(parse_objective(text)).collapsed_value(0, 16), 0) << text;
  }
}

}  // namespace
}  // namespace muster
