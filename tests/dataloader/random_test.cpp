#include "dataloader/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace muster {
namespace {

using Words4 = std::array<uint32_t, 4>;
using Words2 = std::array<uint32_t, 2>;

// kat_vectors of the Random123 distribution, "philox4x32 10".
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words4{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (Words4{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words4{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(KeyedRandom, WalksThePhiloxCounter) {
  KeyedRandom random(0x1122334455667788, 0x99aabbccddeeff00, Purpose::kAugmentation);
  for (uint32_t block = 0; block < 3; ++block) {
    const Words4 expected = philox4x32({block, 3, 0xddeeff00, 0x99aabbcc}, {0x55667788, 0x11223344});
    for (const uint32_t word : expected) EXPECT_EQ(random.next_u32(), word);
  }
}

TEST(KeyedRandom, EveryPartOfTheKeyMatters) {
  const uint64_t base = KeyedRandom(1, 2, 3).next_u64();
  EXPECT_EQ(KeyedRandom(1, 2, 3).next_u64(), base);
  EXPECT_NE(KeyedRandom(2, 2, 3).next_u64(), base);
  EXPECT_NE(KeyedRandom(1, 3, 3).next_u64(), base);
  EXPECT_NE(KeyedRandom(1, 2, 4).next_u64(), base);
  EXPECT_NE(KeyedRandom(1 | uint64_t{1} << 40, 2, 3).next_u64(), base);
  EXPECT_NE(KeyedRandom(1, 2 | uint64_t{1} << 40, 3).next_u64(), base);
}

TEST(KeyedRandom, FloatsAreInTheHalfOpenIntervalWithTheRightMoments) {
  KeyedRandom random(7, 0, Purpose::kSynth);
  const int count = 200000;
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < count; ++i) {
    const double value = i % 2 == 0 ? random.next_float() : random.next_double();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / count, 0.5, 0.003);
  EXPECT_NEAR(squares / count, 1.0 / 3, 0.003);
}

TEST(KeyedRandom, BelowIsUniform) {
  const int bound = 12;
  const int count = 120000;
  std::vector<int> hits(bound);
  KeyedRandom random(8, 0, Purpose::kSynth);
  for (int i = 0; i < count; ++i) {
    const uint64_t value = random.next_below(bound);
    ASSERT_LT(value, static_cast<uint64_t>(bound));
    ++hits[value];
  }
  double chi_square = 0;
  for (const int hit : hits) chi_square += std::pow(hit - count / bound, 2) / (count / bound);
  EXPECT_LT(chi_square, 31.3);  // 99.9 % of 11 degrees of freedom
  EXPECT_EQ(KeyedRandom(8, 0, Purpose::kSynth).next_below(1), 0U);
}

TEST(KeyedRandom, BelowRefusesTheBiasedRange) {
  // A plain remainder by 3 * 2^62 would hit the lowest third half of the time.
  const uint64_t third = uint64_t{1} << 62;
  int lowest = 0;
  KeyedRandom random(9, 0, Purpose::kSynth);
  for (int i = 0; i < 30000; ++i) lowest += random.next_below(3 * third) < third ? 1 : 0;
  EXPECT_NEAR(lowest, 10000, 350);
}

TEST(KeyedRandom, NormalHasTheRightMoments) {
  KeyedRandom random(10, 0, Purpose::kInitialisation);
  const int count = 200000;
  double moments[4] = {};
  for (int i = 0; i < count; ++i) {
    const double value = random.next_normal();
    for (int power = 0; power < 4; ++power) moments[power] += std::pow(value, power + 1) / count;
  }
  EXPECT_NEAR(moments[0], 0, 0.01);
  EXPECT_NEAR(moments[1], 1, 0.015);
  EXPECT_NEAR(moments[2], 0, 0.04);
  EXPECT_NEAR(moments[3], 3, 0.1);
}

}  // namespace
}  // namespace muster
