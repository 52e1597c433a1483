#include "trainer/losses/softmax_statistics.h"

#include <algorithm>
#include <cmath>

#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

template <typename T>
MUSTER_INLINE T fold_maxima_of(const T* __restrict s, int64_t n, T row_max, T* __restrict column_max) {
#pragma omp simd reduction(max : row_max)
  for (int64_t j = 0; j < n; ++j) {
    row_max = s[j] > row_max ? s[j] : row_max;
    column_max[j] = s[j] > column_max[j] ? s[j] : column_max[j];
  }
  return row_max;
}

MUSTER_VECTOR_CLONES float fold_maxima(const float* s, int64_t n, float row_max, float* column_max) {
  return fold_maxima_of(s, n, row_max, column_max);
}
MUSTER_VECTOR_CLONES double fold_maxima(const double* s, int64_t n, double row_max, double* column_max) {
  return fold_maxima_of(s, n, row_max, column_max);
}

struct Sums {
  double* max;
  double* sum;
  double* moment;  // may be nullptr
};

template <typename T>
MUSTER_INLINE void merge_partials_of(const Sums& to, const ColumnPartials<T>& from, int64_t n, double scale) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const double theirs = static_cast<double>(from.max[j]);
    const double max = theirs > to.max[j] ? theirs : to.max[j];
    const double factor = fast_exp(scale * (to.max[j] - max));
    const double other = fast_exp(scale * (theirs - max));
    to.sum[j] = factor * to.sum[j] + other * static_cast<double>(from.sum[j]);
    to.max[j] = max;
  }
}

// Before merge_partials(): needs the maxima and sums that it replaces.
template <typename T>
MUSTER_INLINE void merge_moments_of(const Sums& to, const ColumnPartials<T>& from, int64_t n, double scale) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const double theirs = static_cast<double>(from.max[j]);
    const double max = theirs > to.max[j] ? theirs : to.max[j];
    const double shift = scale * (to.max[j] - max);
    const double other_shift = scale * (theirs - max);
    const double other_sum = static_cast<double>(from.sum[j]);
    to.moment[j] = fast_exp(shift) * (to.moment[j] + to.sum[j] * shift) +
                   fast_exp(other_shift) * (static_cast<double>(from.moment[j]) + other_sum * other_shift);
  }
}

MUSTER_VECTOR_CLONES void merge_partials(const Sums& to, const ColumnPartials<float>& from, int64_t n, double scale) {
  merge_partials_of(to, from, n, scale);
}
MUSTER_VECTOR_CLONES void merge_partials(const Sums& to, const ColumnPartials<double>& from, int64_t n, double scale) {
  merge_partials_of(to, from, n, scale);
}
MUSTER_VECTOR_CLONES void merge_moments(const Sums& to, const ColumnPartials<float>& from, int64_t n, double scale) {
  merge_moments_of(to, from, n, scale);
}
MUSTER_VECTOR_CLONES void merge_moments(const Sums& to, const ColumnPartials<double>& from, int64_t n, double scale) {
  merge_moments_of(to, from, n, scale);
}

}  // namespace

template <typename T>
SoftmaxStatistics<T>::SoftmaxStatistics(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape,
                                        double scale, bool moments)
    : scale_(scale),
      moments_(moments),
      columns_(batch.columns),
      tile_columns_(std::min(shape.columns, batch.columns)),
      row_max_(static_cast<size_t>(batch.rows), static_cast<T>(kNoCosine)),
      row_sum_(static_cast<size_t>(batch.rows), 0.0),
      row_moment_(static_cast<size_t>(moments ? batch.rows : 0), 0.0),
      column_max_(columns.maxima.at(0)),
      column_sum_(columns.sums.at(0)),
      column_moment_(moments ? columns.sums.at(1) : nullptr),
      partials_(static_cast<size_t>(shape.blocks() * tile_columns_ * (moments ? 3 : 2))) {}

template <typename T>
ColumnPartials<T> SoftmaxStatistics<T>::partials(int64_t block) {
  T* base = partials_.data() + block * tile_columns_ * (moments_ ? 3 : 2);
  return {base, base + tile_columns_, moments_ ? base + 2 * tile_columns_ : nullptr};
}

template <typename T>
ColumnPartials<T> SoftmaxStatistics<T>::begin_block(const Block<T>& block) {
  const ColumnPartials<T> to = partials(block.index);
  std::fill_n(to.max, block.columns, static_cast<T>(kNoCosine));
  std::fill_n(to.sum, block.columns, T{0});
  if (moments_) std::fill_n(to.moment, block.columns, T{0});
  for (int64_t r = 0; r < block.rows; ++r) {
    const int64_t row = block.first_row + r;
    raise_row(row, fold_maxima(block.row(r), block.columns, row_max(row), to.max));
  }
  return to;
}

template <typename T>
void SoftmaxStatistics<T>::raise_row(int64_t row, T max) {
  const size_t i = static_cast<size_t>(row);
  const double shift = scale_ * (static_cast<double>(row_max_[i]) - static_cast<double>(max));
  const double factor = std::exp(shift);
  if (moments_) row_moment_[i] = factor * (row_moment_[i] + row_sum_[i] * shift);
  row_sum_[i] *= factor;
  row_max_[i] = max;
}

template <typename T>
void SoftmaxStatistics<T>::add_row(int64_t row, T sum, T moment) {
  row_sum_[static_cast<size_t>(row)] += static_cast<double>(sum);
  if (moments_) row_moment_[static_cast<size_t>(row)] += static_cast<double>(moment);
}

template <typename T>
void SoftmaxStatistics<T>::merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) {
  const int64_t column = tile_column + first;
  const Sums to{column_max_ + column, column_sum_ + column, moments_ ? column_moment_ + column : nullptr};
  for (int64_t block = 0; block < blocks; ++block) {
    const ColumnPartials<T> all = partials(block);
    const ColumnPartials<T> from{all.max + first, all.sum + first, moments_ ? all.moment + first : nullptr};
    if (moments_) merge_moments(to, from, count, scale_);
    merge_partials(to, from, count, scale_);
  }
}

template <typename T>
void SoftmaxStatistics<T>::rebase_columns(const double* local_max) {
  for (int64_t j = 0; j < columns_; ++j) {
    const double shift = scale_ * (local_max[j] - column_max_[j]);
    const double factor = std::exp(shift);
    if (moments_) column_moment_[j] = factor * (column_moment_[j] + column_sum_[j] * shift);
    column_sum_[j] *= factor;
  }
}

template class SoftmaxStatistics<float>;
template class SoftmaxStatistics<double>;

}  // namespace muster
