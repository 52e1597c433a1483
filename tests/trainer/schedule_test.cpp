#include "trainer/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "launch/error.h"

namespace muster {
namespace {

TEST(ScheduleTest, EqualsOpenClipsCosineLr) {
  // open_clip_train.scheduler.cosine_lr with base_lr 1, warmup_length 5, steps 12.
  const std::vector<double> expected = {0.2,
                                        0.4,
                                        0.6,
                                        0.8,
                                        1.0,
                                        1.0,
                                        0.9504844339512095,
                                        0.8117449009293668,
                                        0.6112604669781572,
                                        0.38873953302184283,
                                        0.18825509907063326,
                                        0.04951556604879043};
  ScheduleConfig config;
  config.set_warmup_steps(5);
  for (size_t step = 0; step < expected.size(); ++step) {
    EXPECT_NEAR(Schedule(config, 4, 12).factor(static_cast<int64_t>(step)), expected[step], 1e-15) << step;
  }
}

TEST(ScheduleTest, EndsAtTheFinalFractionAndStaysThere) {
  ScheduleConfig config;
  config.set_final_fraction(0.1);
  EXPECT_EQ(Schedule(config, 4, 100).factor(0), 1);
  EXPECT_NEAR(Schedule(config, 4, 100).factor(50), 0.55, 1e-15);
  EXPECT_NEAR(Schedule(config, 4, 100).factor(99), 0.1 + 0.9 * 0.5 * (1 + std::cos(std::acos(-1.0) * 0.99)), 1e-15);
  EXPECT_EQ(Schedule(config, 4, 100).factor(100), 0.1);
  EXPECT_EQ(Schedule(config, 4, 100).factor(1000), 0.1);
}

TEST(ScheduleTest, ConstantAfterWarmUp) {
  ScheduleConfig config;
  config.set_decay(ScheduleConfig::CONSTANT);
  config.set_warmup_steps(4);
  EXPECT_EQ(Schedule(config, 4, 10).factor(0), 0.25);
  EXPECT_EQ(Schedule(config, 4, 10).factor(3), 1);
  EXPECT_EQ(Schedule(config, 4, 10).factor(9), 1);
  EXPECT_EQ(Schedule(config, 4, 10).factor(99), 1);
}

TEST(ScheduleTest, WarmUpAsLongAsTheRun) {
  ScheduleConfig config;
  config.set_warmup_steps(10);
  EXPECT_EQ(Schedule(config, 4, 10).factor(9), 1);
  EXPECT_EQ(Schedule(config, 4, 10).factor(10), 0);
}

// torch.optim.lr_scheduler.MultiStepLR with milestones 4 and 9, gamma 0.5.
TEST(ScheduleTest, StepsFallAtMilestones) {
  ScheduleConfig config;
  config.set_decay(ScheduleConfig::STEP);
  config.add_milestone(4);
  config.add_milestone(9);
  config.set_gamma(0.5);
  const Schedule schedule(config, 3, 12);
  const std::vector<double> expected = {1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25};
  for (size_t step = 0; step < expected.size(); ++step) {
    EXPECT_EQ(schedule.factor(static_cast<int64_t>(step)), expected[step]) << step;
  }
}

// IRRA's LRSchedulerWithWarmup: per epoch; by hand from its formulas.
TEST(ScheduleTest, PerEpochWithWarmUpAsIrra) {
  constexpr int64_t kStepsPerEpoch = 7, kEpochs = 12;
  const double pi = std::acos(-1.0);
  ScheduleConfig config;
  config.set_per_epoch(true);
  config.set_warmup_epochs(5);
  config.set_warmup_start(0.1);
  const Schedule cosine(config, kStepsPerEpoch, kStepsPerEpoch * kEpochs);
  config.set_decay(ScheduleConfig::STEP);
  config.add_milestone_epoch(6);
  config.add_milestone_epoch(10);
  const Schedule steps(config, kStepsPerEpoch, kStepsPerEpoch * kEpochs);
  const std::vector<double> warmup = {0.1, 0.28, 0.46, 0.64, 0.82};
  for (int64_t step = 0; step < kStepsPerEpoch * kEpochs; ++step) {
    const int64_t epoch = step / kStepsPerEpoch;
    double expected_cosine = 0.5 * (1 + std::cos(pi * static_cast<double>(epoch - 5) / 7));
    double expected_steps = epoch < 6 ? 1 : epoch < 10 ? 0.1 : 0.01;
    if (epoch < 5) expected_cosine = expected_steps = warmup[static_cast<size_t>(epoch)];
    EXPECT_NEAR(cosine.factor(step), expected_cosine, 1e-15) << step;
    EXPECT_NEAR(steps.factor(step), expected_steps, 1e-15) << step;
  }
}

TEST(ScheduleTest, WarmUpInEpochsLongerThanTheRunIsRefused) {
  ScheduleConfig config;
  config.set_warmup_epochs(2.5);
  EXPECT_EQ(Schedule(config, 10, 25).factor(24), 1);
  EXPECT_THROW(Schedule(config, 10, 24), ConfigError);
}

}  // namespace
}  // namespace muster
