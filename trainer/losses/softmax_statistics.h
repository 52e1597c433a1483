// Online softmax statistics of rows and columns: what losses built on log-sum-exp fold.
//
// For each row, and for each column, over the cosines s seen so far:
//   max     m = max s, exactly a value of the tile
//   sum     Z = sum exp(u), u = scale * (s - m), so log-sum-exp = log Z + scale * m
//   moment  H = sum exp(u) * (u - l), l a number of the pair (optional)
// The probability of a pair is exp(scale * (s - m)) / Z: no logit is ever rounded at full size. Where there is no pair
// (all may be positives, or none), m is kNoCosine and the sums are 0.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/losses/pair_loss.h"

namespace muster {

// What the cosines are multiplied by, a number an anchor.
struct AnchorScales {
  std::vector<double> rows;
  std::vector<double> columns;
};

AnchorScales same_scale(const PairBatch& batch, double scale);

// The statistics of all columns that are combined over ranks, [columns] each.
struct SoftmaxColumns {
  double* max;
  double* sum;
  double* moment;  // nullptr: no moments
};

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
  // `groups` outlives this; it is used if not all pairs are members.
  SoftmaxStatistics(const PairBatch& batch, const SoftmaxColumns& columns, const TileShape& shape, AnchorScales scales,
                    Members members = Members::kAll, const Groups* groups = nullptr);

  // Sweep 1 over a block: rows get their new maximum (what they have is rebased to it), and the block's columns theirs,
  // with sums of zero. Sweep 2 is the loss's: add_row(), and adding to the partials.
  ColumnPartials<T> begin_block(const Block<T>& block);
  void add_row(int64_t row, T sum, T moment);

  void merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks);
  void rebase_columns(const double* local_max);

  // All of the above but rebase_columns(), for a device. Codes are of `groups`; `row_targets` [rows] and
  // `other_target` are the l of the moments of positives and of others (nullptr and 0: none).
  FoldPart<T> fold_part(const Groups& groups, const T* row_targets = nullptr, T other_target = 0);

  T row_max(int64_t row) const { return static_cast<T>(row_max_[static_cast<size_t>(row)]); }
  double row_sum(int64_t row) const { return row_sum_[static_cast<size_t>(row)]; }
  double row_moment(int64_t row) const { return row_moment_[static_cast<size_t>(row)]; }
  double row_scale(int64_t row) const { return scales_.rows[static_cast<size_t>(row)]; }
  double column_max(int64_t column) const { return columns_.max[column]; }
  double column_sum(int64_t column) const { return columns_.sum[column]; }
  double column_moment(int64_t column) const { return columns_.moment[column]; }
  double column_scale(int64_t column) const { return scales_.columns[static_cast<size_t>(column)]; }

 private:
  bool has_moments() const { return columns_.moment != nullptr; }
  ColumnPartials<T> partials(int64_t block);
  T fold_maxima(const Block<T>& block, int64_t r, T* column_max) const;
  void raise_row(int64_t row, T max);

  int64_t column_count_;
  int64_t offset_;
  int64_t tile_columns_;
  SoftmaxColumns columns_;
  AnchorScales scales_;
  Members members_;
  const Groups* groups_;
  std::vector<double> row_max_;
  std::vector<double> row_sum_;
  std::vector<double> row_moment_;
  std::vector<T> partials_;
  std::vector<T> device_scales_;  // of rows, then of columns
};

}  // namespace muster
