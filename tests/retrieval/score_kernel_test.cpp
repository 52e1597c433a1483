#include "trainer/retrieval/score_kernel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

namespace muster {
namespace {

std::vector<float> normal_values(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

class ScoreKernel : public testing::TestWithParam<int64_t> {
 protected:
  const int64_t width_ = GetParam();
  const std::vector<float> queries_ = normal_values(kGroupRows * (width_ + 3), 1);
  const std::vector<float> rows_ = normal_values(kPanelRows * width_, 2);

  std::vector<float> scores(ScorePanel variant) const {
    std::vector<float> panel(static_cast<size_t>(kPanelRows * width_));
    pack_panel(rows_.data(), width_, kPanelRows, width_, panel.data());
    std::vector<float> made(kGroupRows * kPanelRows);
    variant(queries_.data(), width_ + 3, width_, panel.data(), made.data(), kPanelRows);
    return made;
  }
};

TEST_P(ScoreKernel, IsADotProduct) {
  const std::vector<float> made = scores(score_panel);
  for (int64_t q = 0; q < kGroupRows; ++q) {
    for (int64_t r = 0; r < kPanelRows; ++r) {
      double truth = 0, size = 0;
      for (int64_t c = 0; c < width_; ++c) {
        const double term = static_cast<double>(queries_[static_cast<size_t>(q * (width_ + 3) + c)]) *
                            static_cast<double>(rows_[static_cast<size_t>(r * width_ + c)]);
        truth += term;
        size += std::abs(term);
      }
      EXPECT_NEAR(made[static_cast<size_t>(q * kPanelRows + r)], truth, 1e-6 * size);
    }
  }
}

TEST_P(ScoreKernel, EveryVariantHasTheSameBits) {
  const ScorePanelVariants variants = score_panel_variants();
  const std::vector<float> portable = scores(variants.portable);
  if (variants.avx2) {
    EXPECT_EQ(scores(variants.avx2), portable);
  }
  if (variants.avx512) {
    EXPECT_EQ(scores(variants.avx512), portable);
  }
}

TEST_P(ScoreKernel, APairAloneHasTheBitsOfItsTile) {
  const std::vector<float> tile = scores(score_panel);
  for (int64_t q = 0; q < kGroupRows; ++q) {
    std::vector<const float*> rows;
    for (int64_t r = 0; r < 11; ++r) rows.push_back(rows_.data() + r * width_);
    std::vector<float> alone(rows.size());
    score_pairs(queries_.data() + q * (width_ + 3), rows.data(), 11, width_, alone.data());
    for (size_t r = 0; r < alone.size(); ++r) EXPECT_EQ(alone[r], tile[static_cast<size_t>(q) * kPanelRows + r]);
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, ScoreKernel, testing::Values(0, 1, 7, 64, 513));

TEST(Panel, MissingRowsAreZero) {
  const std::vector<float> row{1, 2};
  std::vector<float> panel(2 * kPanelRows, -1);
  pack_panel(row.data(), 2, 1, 2, panel.data());
  EXPECT_EQ(panel[0], 1);
  EXPECT_EQ(panel[kPanelRows], 2);
  for (size_t r = 1; r < kPanelRows; ++r) EXPECT_EQ(panel[r] + panel[kPanelRows + r], 0);
}

TEST(InverseNorm, HoldsAtTheEndsOfFloat) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  const std::vector<float> large{kLargest, -kLargest};
  EXPECT_DOUBLE_EQ(inverse_norm(large.data(), 2) * static_cast<double>(kLargest), std::sqrt(0.5));
  const std::vector<float> zero{0, 0};
  EXPECT_DOUBLE_EQ(inverse_norm(zero.data(), 2), 1e12);
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    const std::vector<float> row{1, bad};
    EXPECT_TRUE(std::isnan(inverse_norm(row.data(), 2))) << bad;
  }
}

TEST(Count, GreaterAndGreaterEqual) {
  std::vector<float> scores;
  for (int i = 0; i < 100; ++i) scores.push_back(static_cast<float>(i % 10));
  EXPECT_EQ(count_greater(scores.data(), 100, 7), 20);
  EXPECT_EQ(count_greater_equal(scores.data(), 100, 7), 30);
  EXPECT_EQ(count_greater_equal(scores.data(), 0, 7), 0);
}

TEST(Find, GreaterInAscendingOrder) {
  std::vector<float> scores, thresholds;
  for (int i = 0; i < 101; ++i) {
    scores.push_back(static_cast<float>(i >= 32 && i < 64 ? 0 : i % 10));
    thresholds.push_back(static_cast<float>(i % 7));
  }
  std::vector<uint32_t> found(101), truth, truth_each;
  for (uint32_t i = 0; i < 101; ++i) {
    if (scores[i] > 7) truth.push_back(i);
    if (scores[i] > thresholds[i]) truth_each.push_back(i);
  }
  found.resize(static_cast<size_t>(find_greater(scores.data(), 101, 7, found.data())));
  EXPECT_EQ(found, truth);
  found.resize(101);
  found.resize(static_cast<size_t>(find_greater_each(scores.data(), thresholds.data(), 101, found.data())));
  EXPECT_EQ(found, truth_each);
}

TEST(Find, TheKthGreatest) {
  std::vector<float> scores;
  for (int i = 0; i < 300; ++i) scores.push_back(static_cast<float>((i * 37) % 101 - 50) / 64.0F);
  scores.push_back(-0.0F);
  std::vector<float> sorted = scores;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  for (const size_t k : {1, 2, 100, 150, 151, 152, 153, 154, 155, 300, 301}) {
    EXPECT_EQ(kth_greatest(scores.data(), 301, static_cast<int64_t>(k)), sorted[k - 1]) << k;
  }
  EXPECT_EQ(kth_greatest(scores.data(), 1, 1), scores[0]);
}

TEST(LaneProducts, AreSumsOfLanesInTheirOrder) {
  for (const int64_t width : {1, 15, 16, 33, 70}) {
    std::vector<std::vector<float>> rows;
    std::vector<const float*> pointers;
    for (int i = 0; i < 7; ++i) {
      rows.emplace_back();
      for (int64_t c = 0; c < width; ++c) rows.back().push_back(std::sin(static_cast<float>(i * 100 + c)));
    }
    for (const auto& row : rows) pointers.push_back(row.data());
    std::vector<float> scores(6);
    lane_products(rows[6].data(), pointers.data(), 6, width, scores.data());
    for (size_t i = 0; i < 6; ++i) {
      float lanes[16] = {};
      for (size_t c = 0; c < static_cast<size_t>(width); ++c)
        lanes[c % 16] = std::fma(rows[6][c], rows[i][c], lanes[c % 16]);
      for (int half = 8; half > 0; half /= 2) {
        for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
      }
      EXPECT_EQ(scores[i], lanes[0]) << width;
    }
  }
}

TEST(Count, AStripCountsEachColumnForItself) {
  constexpr int64_t kStride = kStripColumns + 3, kQueries = 7, kLists = 3;
  std::vector<float> scores, thresholds;
  for (int64_t i = 0; i < kQueries * kStride; ++i) scores.push_back(static_cast<float>(i * 37 % 11));
  for (int64_t i = 0; i < kLists * kStripColumns; ++i) thresholds.push_back(static_cast<float>(i * 5 % 13));
  std::vector<uint32_t> counts(thresholds.size(), 100);
  count_strip(scores.data(), kStride, kQueries, thresholds.data(), kLists, counts.data());
  for (int64_t i = 0; i < kLists * kStripColumns; ++i) {
    uint32_t truth = 100;
    for (int64_t q = 0; q < kQueries; ++q) {
      if (scores[static_cast<size_t>(q * kStride + i % kStripColumns)] >= thresholds[static_cast<size_t>(i)]) ++truth;
    }
    EXPECT_EQ(counts[static_cast<size_t>(i)], truth) << i;
  }
}

}  // namespace
}  // namespace muster
