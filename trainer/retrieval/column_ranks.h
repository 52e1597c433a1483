// The other direction of the same scores: each row of a gallery block as a query, all ranks' queries as its gallery.
// Each rank counts over its own queries; the counts are summed over ranks once a block.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "trainer/retrieval/column_tops.h"
#include "trainer/retrieval/global_rows.h"
#include "trainer/retrieval/positive_index.h"
#include "trainer/retrieval/score_kernel.h"
#include "trainer/retrieval/sorted_positives.h"

namespace muster {

// The queries of all ranks, which are the columns' gallery.
struct ColumnGallery {
  ColumnGallery(const at::Tensor& identities, const std::vector<int64_t>& rows_of_ranks, int my_rank);

  PositiveIndex index;
  std::vector<int64_t> numbers;  // of each query's identity in the index
  std::vector<int64_t> rows;     // of each rank
  int64_t my_first;              // of this rank's
};

// One block. Memory: some words a positive pair of the block, and for each thread at most 2 MiB.
class ColumnRanks {
 public:
  // identities[r] of the block's rows. `gallery` must outlive this.
  ColumnRanks(const ColumnGallery& gallery, const int64_t* identities, int64_t count);

  // Collective: `own` are the scores of the positive pairs in this block of this rank's queries, by query, then row.
  void exchange_scores(std::vector<float> own, Communicator& communicator);

  // Scores of `count` consecutive queries of this rank: scores[q * kScoreStride + r]. One thread a worker; a worker's
  // queries ascend.
  void count(int worker, int64_t first_query, int64_t count, const float* scores);

  // Collective: figures[r * kFigures] of the block's rows, on every rank; with `tops`, of the order in which they put
  // the best of each row.
  void write_figures(Communicator& communicator, double* figures, const ColumnTops* tops = nullptr) const;

 private:
  // A positive of a column that has few of them.
  struct Pair {
    uint32_t slot;  // in the strips
    uint32_t column;
  };
  // kStripColumns consecutive columns count together: their k-th positives stand side by side.
  struct Strip {
    int64_t first_slot;
    int64_t lists;  // most positives that a column of it has
  };
  // A query beats a positive if its score is at least the threshold. This is the positive's score while queries before
  // the positive are counted, and the next higher number behind it: so the lower index wins a tie.
  struct Worker {
    std::vector<float> thresholds;
    std::vector<uint32_t> counts;
    int64_t next_query = 0;  // the thresholds of the positives before it are the higher ones
  };

  void lay_out_strips();
  void place_scores(const float* scores);
  template <typename Visit>
  void visit_pairs(int64_t query, const Visit& visit) const;
  void move_to(Worker& worker, int64_t query) const;
  void take_back_ties(Worker& worker, int64_t first_query, int64_t count, const float* scores) const;
  void write_ahead(int64_t* ahead) const;

  int64_t columns() const { return static_cast<int64_t>(numbers_.size()); }
  PositiveIndex::Span positives(int64_t column) const {
    return gallery_.index.of_number(numbers_[static_cast<size_t>(column)]);
  }
  bool is_long(int64_t column) const { return positives(column).size() >= kLongList; }
  int64_t slot(int64_t column, int64_t k) const {
    return strips_[static_cast<size_t>(column / kStripColumns)].first_slot + k * kStripColumns + column % kStripColumns;
  }
  // Where exchange_scores() has the pair of a column and its k-th positive.
  int64_t pair(int64_t column, int64_t k) const {
    return first_pair_[positives(column).first[k]] + positions_[static_cast<size_t>(column)];
  }

  const ColumnGallery& gallery_;
  std::vector<int64_t> numbers_;     // of each column's identity among the gallery's; -1: nobody has it
  std::vector<int64_t> positions_;   // of each column among the block's of its identity
  std::vector<int64_t> first_pair_;  // of each query, and the end: pairs by query, then column
  std::vector<Pair> pairs_;          // the same order; unused for columns that have many positives
  std::vector<Strip> strips_;
  std::vector<float> thresholds_;  // of each slot; infinite where a column has fewer positives than its strip
  std::vector<Worker> workers_;
  std::vector<int64_t> long_columns_;
  std::vector<SortedPositives> long_lists_;
};

}  // namespace muster
