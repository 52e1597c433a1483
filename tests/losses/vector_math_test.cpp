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

}  // namespace
}  // namespace muster
