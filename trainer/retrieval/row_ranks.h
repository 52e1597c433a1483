// The ranks of the positives of this rank's queries, while the gallery passes by. A positive's rank is one more than
// the number of gallery items that beat it: by a higher score, or an equal one and a lower index.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "trainer/retrieval/global_rows.h"
#include "trainer/retrieval/positive_index.h"
#include "trainer/retrieval/row_tops.h"
#include "trainer/retrieval/score_rule.h"
#include "trainer/retrieval/sorted_positives.h"

namespace muster {

class RowRanks {
 public:
  // identities: [n] of this rank's queries. `gallery` must outlive this.
  RowRanks(const at::Tensor& identities, const PositiveIndex& gallery);

  // First pass, each block once: scores the positives that lie in it.
  void score_positives(const UnitRows& queries, const GalleryBlock& block, const ScoreRule& rule);
  // The same of scores of another kind, equal whoever asks: of a query with some items, ascending. From several
  // threads.
  using ScoreItems = std::function<void(int64_t query, const std::vector<int64_t>& items, float* scores)>;
  void score_positives(const GalleryBlock& block, const ScoreItems& score);

  // Between the passes.
  void begin_counting();

  // Of this rank's queries with their positives in a block: the items' scores, by query, then item.
  std::vector<float> positive_scores(const GalleryBlock& block) const;

  // Second pass, each query and block once: scores[r] of the block's rows. One thread a query.
  void count(int64_t query, const float* scores, const GalleryBlock& block);

  // [n, kFigures] float64; with `tops`, of the order in which they put the best of each query.
  at::Tensor figures(const RowTops* tops = nullptr) const;

 private:
  int64_t queries() const { return static_cast<int64_t>(positives_.size()); }
  bool is_long(int64_t query) const { return positives_[static_cast<size_t>(query)].size() >= kLongList; }
  int64_t begin(int64_t query) const { return begins_[static_cast<size_t>(query)]; }
  // Which of a query's positives lie in a block: [first, last).
  struct Range {
    int64_t first;
    int64_t last;
  };
  Range within(int64_t query, const GalleryBlock& block) const;
  // visit(query, items, pair) of each query with positives in the block, whose scores begin at `pair`. On all threads.
  using VisitPositives = std::function<void(int64_t query, const std::vector<int64_t>& items, int64_t pair)>;
  void for_each_positives(const GalleryBlock& block, const VisitPositives& visit) const;

  std::vector<PositiveIndex::Span> positives_;  // of each query
  std::vector<int64_t> begins_;                 // of each query in the vectors below
  std::vector<float> scores_;                   // by query, then item
  std::vector<float> column_scores_;            // the same pairs, the items asking; empty if those are equal
  std::vector<uint32_t> ahead_;                 // items that beat it; unused for long lists
  std::vector<SortedPositives> long_lists_;     // of the queries with that many, in order
  std::vector<uint32_t> long_list_of_;          // query -> place in long_lists_
};

}  // namespace muster
