#include "dataloader/distinct_rounds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

namespace muster {
namespace {

std::vector<int64_t> random_cards(uint64_t seed) {
  KeyedRandom random(seed, 0, Purpose::kSynth);
  std::vector<int64_t> cards(1 + random.next_below(12));
  const uint64_t most = 1 + random.next_below(9);
  for (int64_t& count : cards) count = static_cast<int64_t>(random.next_below(most + 1));
  return cards;
}

// Taking the fullest groups first fills as many rounds as can be.
int64_t greedy_rounds(std::vector<int64_t> cards, int64_t width) {
  for (int64_t rounds = 0;; ++rounds) {
    std::sort(cards.rbegin(), cards.rend());
    if (width > static_cast<int64_t>(cards.size()) || cards[static_cast<size_t>(width - 1)] == 0) return rounds;
    for (int64_t i = 0; i < width; ++i) --cards[static_cast<size_t>(i)];
  }
}

TEST(DistinctRounds, AreAsManyAsCanBeAndNoGroupIsTwiceInOne) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const std::vector<int64_t> cards = random_cards(seed);
    const auto width = static_cast<int64_t>(1 + seed % 7);
    const int64_t rounds = greedy_rounds(cards, width);
    ASSERT_EQ(most_rounds(cards, width), rounds) << seed;
    KeyedRandom random(seed, 1, Purpose::kSamplerPlan);
    const std::vector<int64_t> deal = deal_distinct(cards, width, random);
    ASSERT_EQ(static_cast<int64_t>(deal.size()), rounds * width) << seed;
    std::vector<int64_t> left = cards;
    for (int64_t round = 0; round < rounds; ++round) {
      const auto begin = deal.begin() + round * width;
      ASSERT_EQ(static_cast<int64_t>(std::set<int64_t>(begin, begin + width).size()), width) << seed;
      for (auto group = begin; group != begin + width; ++group) {
        ASSERT_GE(--left[static_cast<size_t>(*group)], 0) << seed;
      }
    }
  }
}

// 10 groups of 3 cards in rounds of 4: each group is as likely at each place but for the order within a round.
TEST(DistinctRounds, EqualGroupsAreDealtEquallyOften) {
  std::vector<int> in_round(10 * 7), left_out(10);
  const int tries = 7000;
  for (uint64_t seed = 0; seed < tries; ++seed) {
    KeyedRandom random(seed, 2, Purpose::kSamplerPlan);
    std::vector<int64_t> left(10, 3);
    const std::vector<int64_t> deal = deal_distinct(left, 4, random);
    ASSERT_EQ(deal.size(), 28U);
    for (size_t place = 0; place < deal.size(); ++place) {
      ++in_round[static_cast<size_t>(deal[place]) * 7 + place / 4];
      --left[static_cast<size_t>(deal[place])];
    }
    for (size_t group = 0; group < 10; ++group) left_out[group] += static_cast<int>(left[group]);
  }
  for (const int hits : in_round) EXPECT_NEAR(hits, tries * 4 / 10, 200);  // 5 standard deviations
  for (const int hits : left_out) EXPECT_NEAR(hits, tries * 2 / 10, 200);
}

TEST(DistinctRounds, PairsOfGroupsMeetEquallyOften) {
  std::vector<int> met(100);
  const int tries = 3000;
  for (uint64_t seed = 0; seed < tries; ++seed) {
    KeyedRandom random(seed, 3, Purpose::kSamplerPlan);
    const std::vector<int64_t> deal = deal_distinct(std::vector<int64_t>(10, 2), 2, random);
    for (size_t i = 0; i < deal.size(); i += 2) {
      ++met[static_cast<size_t>(std::min(deal[i], deal[i + 1]) * 10 + std::max(deal[i], deal[i + 1]))];
    }
  }
  for (int64_t a = 0; a < 10; ++a) {
    for (int64_t b = a + 1; b < 10; ++b) {
      EXPECT_NEAR(met[static_cast<size_t>(a * 10 + b)], tries * 10 / 45, 150);
    }
  }
}

TEST(DistinctRounds, FewerGroupsThanARoundNeedsGiveNone) {
  KeyedRandom random(0, 0, Purpose::kSamplerPlan);
  EXPECT_EQ(most_rounds({5, 5, 0}, 3), 0);
  EXPECT_TRUE(deal_distinct({5, 5, 0}, 3, random).empty());
  EXPECT_EQ(most_rounds({}, 1), 0);
}

}  // namespace
}  // namespace muster
