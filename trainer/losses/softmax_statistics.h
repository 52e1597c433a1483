// Online softmax statistics of rows and columns: what losses built on log-sum-exp fold.
//
// For each row, and for each column, over the cosines s seen so far:
//   max     m = max s, exactly a value of the tile
//   sum     Z = sum exp(u), u = scale * (s - m), so log-sum-exp = log Z + scale * m
//   moment  H = sum exp(u) * (u - l), l a number of the pair (optional)
// The probability of a pair is exp(scale * (s - m)) / Z: no logit is ever rounded at full size.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/losses/pair_loss.h"

namespace muster {

// The column statistics of one block, [columns] each.
template <typename T>
struct ColumnPartials {
  T* max;
  T* sum;
  T* moment;  // nullptr without moments
};

template <typename T>
class SoftmaxStatistics {
 public:
  // Takes one maximum and one sum (two with moments) of `columns`.
  SoftmaxStatistics(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape, double scale,
                    bool moments);

  // Sweep 1 over a block: rows get their new maximum (what they have is rebased to it), and the block's columns theirs,
  // with sums of zero. Sweep 2 is the loss's: add_row(), and adding to the partials.
  ColumnPartials<T> begin_block(const Block<T>& block);
  void add_row(int64_t row, T sum, T moment);

  void merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks);
  void rebase_columns(const double* local_max);

  T row_max(int64_t row) const { return row_max_[static_cast<size_t>(row)]; }
  double row_sum(int64_t row) const { return row_sum_[static_cast<size_t>(row)]; }
  double row_moment(int64_t row) const { return row_moment_[static_cast<size_t>(row)]; }
  double column_max(int64_t column) const { return column_max_[column]; }
  double column_sum(int64_t column) const { return column_sum_[column]; }
  double column_moment(int64_t column) const { return column_moment_[column]; }

 private:
  ColumnPartials<T> partials(int64_t block);
  void raise_row(int64_t row, T max);

  double scale_;
  bool moments_;
  int64_t columns_;
  int64_t tile_columns_;
  std::vector<T> row_max_;
  std::vector<double> row_sum_;
  std::vector<double> row_moment_;
  double* column_max_;
  double* column_sum_;
  double* column_moment_;
  std::vector<T> partials_;
};

}  // namespace muster
