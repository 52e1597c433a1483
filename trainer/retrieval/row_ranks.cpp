#include "trainer/retrieval/row_ranks.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "trainer/retrieval/rank_figures.h"
#include "trainer/retrieval/score_kernel.h"

namespace muster {

RowRanks::RowRanks(const at::Tensor& identities, const PositiveIndex& gallery) {
  const at::Tensor all = identities.contiguous();
  const auto* identity = all.const_data_ptr<int64_t>();
  int64_t pairs = 0;
  for (int64_t q = 0; q < all.size(0); ++q) {
    positives_.push_back(gallery.of(identity[q]));
    begins_.push_back(pairs);
    pairs += positives_.back().size();
  }
  scores_.resize(static_cast<size_t>(pairs));
  ahead_.resize(static_cast<size_t>(pairs));
}

RowRanks::Range RowRanks::within(int64_t query, const GalleryBlock& block) const {
  const PositiveIndex::Span& items = positives_[static_cast<size_t>(query)];
  const auto place = [&](int64_t item) {
    return std::partition_point(items.begin(), items.end(), [item](uint32_t i) { return i < item; }) - items.begin();
  };
  return {place(block.first), place(block.first + block.count)};
}

void RowRanks::for_each_positives(const GalleryBlock& block, const VisitPositives& visit) const {
  at::parallel_for(0, queries(), 64, [&](int64_t first, int64_t last) {
    std::vector<int64_t> items;
    for (int64_t q = first; q < last; ++q) {
      const Range range = within(q, block);
      if (range.first == range.last) continue;
      const uint32_t* all = positives_[static_cast<size_t>(q)].first;
      items.assign(all + range.first, all + range.last);
      visit(q, items, begin(q) + range.first);
    }
  });
}

void RowRanks::score_positives(const UnitRows& queries, const GalleryBlock& block, const ScoreRule& rule) {
  if (!rule.is_plain()) column_scores_.resize(scores_.size());
  for_each_positives(block, [&](int64_t query, const std::vector<int64_t>& items, int64_t pair) {
    std::vector<float> unit(static_cast<size_t>(queries.width()));
    queries.copy(query, unit.data());
    rule.score_pairs(query, unit.data(), block, items, scores_.data() + pair,
                     rule.is_plain() ? nullptr : column_scores_.data() + pair);
  });
}

void RowRanks::score_positives(const GalleryBlock& block, const ScoreItems& score) {
  for_each_positives(block, [&](int64_t query, const std::vector<int64_t>& items, int64_t pair) {
    score(query, items, scores_.data() + pair);
  });
}

void RowRanks::begin_counting() {
  long_list_of_.resize(positives_.size());
  for (int64_t q = 0; q < queries(); ++q) {
    if (!is_long(q)) continue;
    const PositiveIndex::Span& items = positives_[static_cast<size_t>(q)];
    const float* scores = scores_.data() + begin(q);
    long_list_of_[static_cast<size_t>(q)] = static_cast<uint32_t>(long_lists_.size());
    long_lists_.emplace_back(std::vector<float>(scores, scores + items.size()), items.first);
  }
}

std::vector<float> RowRanks::positive_scores(const GalleryBlock& block) const {
  std::vector<float> scores;
  for (int64_t q = 0; q < queries(); ++q) {
    const Range range = within(q, block);
    const float* own = (column_scores_.empty() ? scores_ : column_scores_).data() + begin(q);
    scores.insert(scores.end(), own + range.first, own + range.last);
  }
  return scores;
}

void RowRanks::count(int64_t query, const float* scores, const GalleryBlock& block) {
  if (is_long(query)) {
    long_lists_[long_list_of_[static_cast<size_t>(query)]].place(scores, 1, block.first, block.count);
    return;
  }
  const PositiveIndex::Span& items = positives_[static_cast<size_t>(query)];
  for (int64_t k = 0; k < items.size(); ++k) {
    const auto pair = static_cast<size_t>(begin(query) + k);
    const int64_t earlier = std::clamp<int64_t>(static_cast<int64_t>(items.first[k]) - block.first, 0, block.count);
    const int64_t ahead = count_greater_equal(scores, earlier, scores_[pair]) +
                          count_greater(scores + earlier, block.count - earlier, scores_[pair]);
    ahead_[pair] += static_cast<uint32_t>(ahead);
  }
}

at::Tensor RowRanks::figures(const RowTops* tops) const {
  const at::Tensor figures = at::empty({queries(), kFigures}, at::kDouble);
  auto* rows = figures.mutable_data_ptr<double>();
  at::parallel_for(0, queries(), 64, [&](int64_t first, int64_t last) {
    std::vector<int64_t> ahead;
    for (int64_t q = first; q < last; ++q) {
      const uint32_t* own = ahead_.data() + begin(q);
      ahead.assign(own, own + positives_[static_cast<size_t>(q)].size());
      if (is_long(q)) long_lists_[long_list_of_[static_cast<size_t>(q)]].write_ahead(ahead.data());
      if (tops != nullptr) reorder_best(tops->best_first(q), positives_[static_cast<size_t>(q)], ahead);
      write_figures(ahead, rows + q * kFigures);
    }
  });
  return figures;
}

}  // namespace muster
