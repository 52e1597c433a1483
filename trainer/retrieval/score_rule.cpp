#include "trainer/retrieval/score_rule.h"

#include <cmath>
#include <utility>

#include "trainer/retrieval/score_kernel.h"

namespace muster {

ScoreRule::ScoreRule(std::vector<int64_t> widths, const at::Tensor& query_weights, const at::Tensor& gallery_weights)
    : widths_(std::move(widths)) {
  const at::Tensor own = query_weights.contiguous();
  const at::Tensor all = gallery_weights.contiguous();
  query_weights_.assign(own.const_data_ptr<float>(), own.const_data_ptr<float>() + own.numel());
  const auto* weights = all.const_data_ptr<float>();
  for (int64_t item = 0; item < all.size(0); ++item, weights += 2) {
    first_weights_.push_back(weights[0]);
    second_weights_.push_back(weights[1]);
  }
}

void ScoreRule::score_pairs(int64_t query, const float* unit, const GalleryBlock& block,
                            const std::vector<int64_t>& items, float* as_query, float* as_item) const {
  const auto count = static_cast<int64_t>(items.size());
  const int64_t width = widths_[0] + widths_[1];
  std::vector<const float*> rows;
  for (const int64_t item : items) rows.push_back(block.rows + (item - block.first) * width);
  muster::score_pairs(unit, rows.data(), count, widths_[0], as_query);
  if (is_plain()) return;
  for (const float*& row : rows) row += widths_[0];
  muster::score_pairs(unit + widths_[0], rows.data(), count, widths_[1], as_item);
  const float* weights = query_weights_.data() + 2 * query;
  for (int64_t i = 0; i < count; ++i) {
    const auto item = static_cast<size_t>(items[static_cast<size_t>(i)]);
    mix_scores(as_query + i, as_item + i, 1, weights[0], weights[1], &first_weights_[item], &second_weights_[item]);
  }
}

// As mix_scores().
float ScoreRule::mix_for_query(int64_t query, float first, float second) const {
  const float* weights = query_weights_.data() + 2 * query;
  return std::fma(weights[1], second, weights[0] * first);
}

float ScoreRule::mix_for_item(int64_t item, float first, float second) const {
  const auto i = static_cast<size_t>(item);
  return std::fma(second_weights_[i], second, first_weights_[i] * first);
}

void ScoreRule::finish_tile(int64_t first_query, int64_t count, const GalleryBlock& block, float* tile) const {
  if (is_plain()) return;
  for (int64_t q = 0; q < count; ++q) {
    const float* weights = query_weights_.data() + 2 * (first_query + q);
    float* first = tile + q * kScoreStride;
    mix_scores(first, first + kTileScores, block.count, weights[0], weights[1], first_weights_.data() + block.first,
               second_weights_.data() + block.first);
  }
}

}  // namespace muster
