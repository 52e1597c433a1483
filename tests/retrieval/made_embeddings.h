// Embeddings whose cosines are exact in every arithmetic, full of ties, and the ranking of them by brute force.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "trainer/retrieval/retrieval.h"

namespace muster {

// Rows of `width` >= 16 with 4 or 16 entries of +-1 or +-1/2: norms and unit entries are powers of two, so every
// product and sum of a cosine is exact in float32 whatever its order, and the tie rule decides most ranks.
inline EmbeddingRows exact_rows(int64_t rows, int64_t width, int64_t identities, uint32_t seed) {
  std::mt19937 random(seed);
  EmbeddingRows made{at::zeros({rows, width}, at::kFloat), at::empty({rows}, at::kLong)};
  for (int64_t r = 0; r < rows; ++r) {
    auto* row = made.features.mutable_data_ptr<float>() + r * width;
    const float magnitude = random() % 2 == 0 ? 1.0F : 0.5F;
    int64_t left = random() % 2 == 0 ? 4 : 16;
    while (left > 0) {
      float& entry = row[static_cast<int64_t>(random() % static_cast<uint32_t>(width))];
      if (entry != 0) continue;
      entry = random() % 2 == 0 ? magnitude : -magnitude;
      --left;
    }
    made.identity.mutable_data_ptr<int64_t>()[r] = static_cast<int64_t>(random() % static_cast<uint32_t>(identities));
  }
  return made;
}

inline EmbeddingRows normal_rows(int64_t rows, int64_t width, int64_t identities, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  EmbeddingRows made = exact_rows(rows, std::max<int64_t>(width, 16), identities, seed);
  made.features = at::empty({rows, width}, at::kFloat);
  auto* values = made.features.mutable_data_ptr<float>();
  for (int64_t i = 0; i < rows * width; ++i) values[i] = normal(random);
  return made;
}

// Consecutive rows.
inline EmbeddingRows slice(const EmbeddingRows& all, int64_t first, int64_t count) {
  return {all.features.narrow(0, first, count), all.identity.narrow(0, first, count)};
}

// This rank's rows when the ranks have these numbers of rows.
inline EmbeddingRows share(const EmbeddingRows& all, const std::vector<int64_t>& rows, int rank) {
  const int64_t first = std::accumulate(rows.begin(), rows.begin() + rank, int64_t{0});
  return slice(all, first, rows[static_cast<size_t>(rank)]);
}

// float64 cosines of one query with all gallery rows.
inline std::vector<double> true_scores(const EmbeddingRows& queries, int64_t query, const EmbeddingRows& gallery) {
  const int64_t width = queries.features.size(1);
  const auto* q = queries.features.const_data_ptr<float>() + query * width;
  std::vector<double> scores;
  for (int64_t g = 0; g < gallery.features.size(0); ++g) {
    const auto* row = gallery.features.const_data_ptr<float>() + g * width;
    double dot = 0, qq = 0, gg = 0;
    for (int64_t c = 0; c < width; ++c) {
      dot += static_cast<double>(q[c]) * row[c];
      qq += static_cast<double>(q[c]) * q[c];
      gg += static_cast<double>(row[c]) * row[c];
    }
    scores.push_back(dot / std::max(std::sqrt(qq) * std::sqrt(gg), 1e-24));
  }
  return scores;
}

// Best first, equal ones by index.
inline std::vector<int64_t> order_of(const std::vector<double>& scores) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  return order;
}

inline std::vector<int64_t> true_ranking(const EmbeddingRows& queries, int64_t query, const EmbeddingRows& gallery) {
  return order_of(true_scores(queries, query, gallery));
}

// ranking(q): gallery rows of a query, best first.
template <typename Ranking>
RetrievalMetrics metrics_of(const EmbeddingRows& queries, const EmbeddingRows& gallery, const Ranking& ranking) {
  RetrievalMetrics truth;
  truth.gallery = gallery.features.size(0);
  std::vector<double> ranks;
  for (int64_t q = 0; q < queries.features.size(0); ++q) {
    const int64_t identity = queries.identity.const_data_ptr<int64_t>()[q];
    const std::vector<int64_t> order = ranking(q);
    double found = 0, among_50 = 0, precision = 0, first = 0, last = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      if (gallery.identity.const_data_ptr<int64_t>()[order[i]] != identity) continue;
      among_50 += i < 50 ? 1 : 0;
      last = static_cast<double>(i + 1);
      if (found == 0) first = last;
      found += 1;
      precision += found / last;
    }
    if (found == 0) {
      ++truth.skipped;
      continue;
    }
    ++truth.queries;
    ranks.push_back(first);
    truth.r1 += first <= 1 ? 100 : 0;
    truth.r5 += first <= 5 ? 100 : 0;
    truth.r10 += first <= 10 ? 100 : 0;
    truth.map += 100 * precision / found;
    truth.minp += 100 * found / last;
    truth.ap50 += 100 * among_50 / static_cast<double>(std::min<size_t>(50, order.size()));
  }
  for (double* figure : {&truth.r1, &truth.r5, &truth.r10, &truth.map, &truth.minp, &truth.ap50}) {
    *figure /= static_cast<double>(std::max<int64_t>(truth.queries, 1));
  }
  if (ranks.empty()) return truth;
  std::sort(ranks.begin(), ranks.end());
  truth.mean_rank = std::accumulate(ranks.begin(), ranks.end(), 0.0) / static_cast<double>(ranks.size());
  truth.median_rank = std::floor((ranks[(ranks.size() - 1) / 2] + ranks[ranks.size() / 2]) / 2);
  return truth;
}

inline RetrievalMetrics true_metrics(const EmbeddingRows& queries, const EmbeddingRows& gallery) {
  return metrics_of(queries, gallery, [&](int64_t q) { return true_ranking(queries, q, gallery); });
}

inline void expect_near(const RetrievalMetrics& made, const RetrievalMetrics& truth) {
  EXPECT_NEAR(made.r1, truth.r1, 1e-9);
  EXPECT_NEAR(made.r5, truth.r5, 1e-9);
  EXPECT_NEAR(made.r10, truth.r10, 1e-9);
  EXPECT_NEAR(made.map, truth.map, 1e-9);
  EXPECT_NEAR(made.minp, truth.minp, 1e-9);
  EXPECT_NEAR(made.ap50, truth.ap50, 1e-9);
  EXPECT_EQ(made.median_rank, truth.median_rank);
  EXPECT_NEAR(made.mean_rank, truth.mean_rank, 1e-9);
  EXPECT_EQ(made.queries, truth.queries);
  EXPECT_EQ(made.gallery, truth.gallery);
  EXPECT_EQ(made.skipped, truth.skipped);
}

}  // namespace muster
