#include "trainer/losses/vector_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace muster {
namespace {

TEST(FastExp, FloatIsWithinAFewLastBits) {
  double worst = 0;
  for (double x = -86.4; x <= 1; x += 0.00137) {
    const float argument = static_cast<float>(x);
    const double expected = std::exp(static_cast<double>(argument));
    worst = std::max(worst, std::fabs(static_cast<double>(fast_exp(argument)) / expected - 1));
  }
  EXPECT_LE(worst, 1.5e-7);
}

TEST(FastExp, DoubleIsWithinAFewLastBits) {
  double worst = 0;
  for (double x = -707.9; x <= 1; x += 0.00731) worst = std::max(worst, std::fabs(fast_exp(x) / std::exp(x) - 1));
  EXPECT_LE(worst, 5e-16);
}

TEST(FastExp, EndsOfTheRange) {
  EXPECT_EQ(fast_exp(0.0F), 1.0F);
  EXPECT_EQ(fast_exp(0.0), 1.0);
  EXPECT_EQ(fast_exp(-87.0F), 0.0F);
  EXPECT_EQ(fast_exp(-1e30F), 0.0F);
  EXPECT_EQ(fast_exp(-std::numeric_limits<float>::infinity()), 0.0F);
  EXPECT_EQ(fast_exp(-std::numeric_limits<double>::infinity()), 0.0);
  EXPECT_TRUE(std::isnan(fast_exp(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(fast_exp(std::numeric_limits<double>::quiet_NaN())));
}

TEST(FastLog1p, IsWithinAFewLastBits) {
  double worst_float = 0;
  double worst_double = 0;
  for (double x = 1; x > 1e-30; x *= 0.9987) {
    const float argument = static_cast<float>(x);
    const double expected = std::log1p(static_cast<double>(argument));
    worst_float = std::max(worst_float, std::fabs(static_cast<double>(fast_log1p(argument)) / expected - 1));
    worst_double = std::max(worst_double, std::fabs(fast_log1p(x) / std::log1p(x) - 1));
  }
  EXPECT_LE(worst_float, 2e-7);
  EXPECT_LE(worst_double, 5e-16);
  EXPECT_EQ(fast_log1p(0.0F), 0.0F);
  EXPECT_EQ(fast_log1p(0.0), 0.0);
  EXPECT_TRUE(std::isnan(fast_log1p(std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace
}  // namespace muster
