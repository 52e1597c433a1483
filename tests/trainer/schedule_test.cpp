#include "trainer/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

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
    EXPECT_NEAR(rate_factor(config, static_cast<int64_t>(step), 12), expected[step], 1e-15) << step;
  }
}

TEST(ScheduleTest, EndsAtTheFinalFractionAndStaysThere) {
  ScheduleConfig config;
  config.set_final_fraction(0.1);
  EXPECT_EQ(rate_factor(config, 0, 100), 1);
  EXPECT_NEAR(rate_factor(config, 50, 100), 0.55, 1e-15);
  EXPECT_NEAR(rate_factor(config, 99, 100), 0.1 + 0.9 * 0.5 * (1 + std::cos(std::acos(-1.0) * 0.99)), 1e-15);
  EXPECT_EQ(rate_factor(config, 100, 100), 0.1);
  EXPECT_EQ(rate_factor(config, 1000, 100), 0.1);
}

TEST(ScheduleTest, ConstantAfterWarmUp) {
  ScheduleConfig config;
  config.set_decay(ScheduleConfig::CONSTANT);
  config.set_warmup_steps(4);
  EXPECT_EQ(rate_factor(config, 0, 10), 0.25);
  EXPECT_EQ(rate_factor(config, 3, 10), 1);
  EXPECT_EQ(rate_factor(config, 9, 10), 1);
  EXPECT_EQ(rate_factor(config, 99, 10), 1);
}

TEST(ScheduleTest, WarmUpAsLongAsTheRun) {
  ScheduleConfig config;
  config.set_warmup_steps(10);
  EXPECT_EQ(rate_factor(config, 9, 10), 1);
  EXPECT_EQ(rate_factor(config, 10, 10), 0);
}

}  // namespace
}  // namespace muster
