#include "trainer/retrieval/row_tops.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "trainer/retrieval/score_kernel.h"

namespace muster {

RowTops::RowTops(int64_t queries, int64_t k)
    : best_(static_cast<size_t>(queries), BestHits(static_cast<size_t>(k))),
      hits_(static_cast<size_t>(queries)),
      mixed_(hits_.size()) {}

void RowTops::consider(int64_t query, const float* scores, const GalleryBlock& block) {
  BestHits& best = best_[static_cast<size_t>(query)];
  std::array<uint32_t, kBlockRows> found;
  const int64_t count = find_greater(scores, block.count, best.threshold(), found.data());
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t row = found[static_cast<size_t>(i)];
    best.add(scores[row], static_cast<uint32_t>(block.first) + row);
  }
}

void RowTops::end_considering() {
  at::parallel_for(0, static_cast<int64_t>(hits_.size()), 64, [&](int64_t first, int64_t last) {
    for (auto q = static_cast<size_t>(first); q < static_cast<size_t>(last); ++q) {
      hits_[q] = best_[q].take();
    }
  });
}

void RowTops::mix(const UnitRows& queries, const GalleryBlock& block, const ScoreRule& rule) {
  const int64_t width = queries.widths()[1];
  at::parallel_for(0, queries.size(), 64, [&](int64_t first, int64_t last) {
    std::vector<const float*> rows;
    std::vector<float> seconds;
    for (int64_t q = first; q < last; ++q) {
      std::vector<Hit>& hits = hits_[static_cast<size_t>(q)];
      const auto begin = hits.begin() + static_cast<std::ptrdiff_t>(mixed_[static_cast<size_t>(q)]);
      auto end = begin;
      while (end != hits.end() && end->item < block.first + block.count) ++end;
      mixed_[static_cast<size_t>(q)] = static_cast<size_t>(end - hits.begin());
      rows.clear();
      for (auto hit = begin; hit != end; ++hit) {
        rows.push_back(block.rows + (hit->item - block.first) * queries.width() + queries.widths()[0]);
      }
      seconds.resize(rows.size());
      lane_products(queries.second(q), rows.data(), end - begin, width, seconds.data());
      auto second = seconds.begin();
      for (auto hit = begin; hit != end; ++hit) hit->score = rule.mix_for_query(q, hit->score, *second++);
    }
  });
}

void RowTops::sort() {
  at::parallel_for(0, static_cast<int64_t>(hits_.size()), 64, [&](int64_t first, int64_t last) {
    for (auto q = static_cast<size_t>(first); q < static_cast<size_t>(last); ++q) {
      std::sort(hits_[q].begin(), hits_[q].end(), better);
    }
  });
}

}  // namespace muster
