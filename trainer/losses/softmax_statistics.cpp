#include "trainer/losses/softmax_statistics.h"

#include <algorithm>
#include <cmath>
#include <utility>

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

MUSTER_VECTOR_CLONES float fold_all(const float* s, int64_t n, float row_max, float* column_max) {
  return fold_maxima_of(s, n, row_max, column_max);
}
MUSTER_VECTOR_CLONES double fold_all(const double* s, int64_t n, double row_max, double* column_max) {
  return fold_maxima_of(s, n, row_max, column_max);
}

// The codes that count are those equal to the row's, or those that differ from it.
struct RowMembers {
  const int32_t* codes;
  int32_t code;
  bool equal;
};

template <typename T>
MUSTER_INLINE T fold_members_of(const T* __restrict s, int64_t n, const RowMembers& members, T row_max,
                                T* __restrict column_max) {
  constexpr T kNone = static_cast<T>(kNoCosine);
  const RowMembers m = members;
  const int32_t* __restrict codes = m.codes;
#pragma omp simd reduction(max : row_max)
  for (int64_t j = 0; j < n; ++j) {
    const T x = (codes[j] == m.code) == m.equal ? s[j] : kNone;
    row_max = x > row_max ? x : row_max;
    column_max[j] = x > column_max[j] ? x : column_max[j];
  }
  return row_max;
}

MUSTER_VECTOR_CLONES float fold_members(const float* s, int64_t n, const RowMembers& members, float row_max,
                                        float* column_max) {
  return fold_members_of(s, n, members, row_max, column_max);
}
MUSTER_VECTOR_CLONES double fold_members(const double* s, int64_t n, const RowMembers& members, double row_max,
                                         double* column_max) {
  return fold_members_of(s, n, members, row_max, column_max);
}

template <typename T>
MUSTER_INLINE void merge_partials_of(const SoftmaxColumns& to, const ColumnPartials<T>& from, int64_t n,
                                     const double* scale) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const double theirs = static_cast<double>(from.max[j]);
    const double max = theirs > to.max[j] ? theirs : to.max[j];
    const double factor = fast_exp(scale[j] * (to.max[j] - max));
    const double other = fast_exp(scale[j] * (theirs - max));
    to.sum[j] = factor * to.sum[j] + other * static_cast<double>(from.sum[j]);
    to.max[j] = max;
  }
}

// Before merge_partials(): needs the maxima and sums that it replaces.
template <typename T>
MUSTER_INLINE void merge_moments_of(const SoftmaxColumns& to, const ColumnPartials<T>& from, int64_t n,
                                    const double* scale) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const double theirs = static_cast<double>(from.max[j]);
    const double max = theirs > to.max[j] ? theirs : to.max[j];
    const double shift = scale[j] * (to.max[j] - max);
    const double other_shift = scale[j] * (theirs - max);
    const double other_sum = static_cast<double>(from.sum[j]);
    to.moment[j] = fast_exp(shift) * (to.moment[j] + to.sum[j] * shift) +
                   fast_exp(other_shift) * (static_cast<double>(from.moment[j]) + other_sum * other_shift);
  }
}

MUSTER_VECTOR_CLONES void merge_partials(const SoftmaxColumns& to, const ColumnPartials<float>& from, int64_t n,
                                         const double* scale) {
  merge_partials_of(to, from, n, scale);
}
MUSTER_VECTOR_CLONES void merge_partials(const SoftmaxColumns& to, const ColumnPartials<double>& from, int64_t n,
                                         const double* scale) {
  merge_partials_of(to, from, n, scale);
}
MUSTER_VECTOR_CLONES void merge_moments(const SoftmaxColumns& to, const ColumnPartials<float>& from, int64_t n,
                                        const double* scale) {
  merge_moments_of(to, from, n, scale);
}
MUSTER_VECTOR_CLONES void merge_moments(const SoftmaxColumns& to, const ColumnPartials<double>& from, int64_t n,
                                        const double* scale) {
  merge_moments_of(to, from, n, scale);
}

}  // namespace

AnchorScales same_scale(const PairBatch& batch, double scale) {
  return {std::vector<double>(static_cast<size_t>(batch.rows), scale),
          std::vector<double>(static_cast<size_t>(batch.columns), scale)};
}

template <typename T>
SoftmaxStatistics<T>::SoftmaxStatistics(const PairBatch& batch, const SoftmaxColumns& columns, const TileShape& shape,
                                        AnchorScales scales, Members members, const Groups* groups)
    : column_count_(batch.columns),
      offset_(batch.offset),
      tile_columns_(std::min(shape.columns, batch.columns)),
      columns_(columns),
      scales_(std::move(scales)),
      members_(members),
      groups_(groups),
      row_max_(static_cast<size_t>(batch.rows), kNoCosine),
      row_sum_(static_cast<size_t>(batch.rows), 0.0),
      row_moment_(static_cast<size_t>(has_moments() ? batch.rows : 0), 0.0),
      partials_(static_cast<size_t>(shape.blocks() * tile_columns_ * (has_moments() ? 3 : 2))) {}

template <typename T>
ColumnPartials<T> SoftmaxStatistics<T>::partials(int64_t block) {
  T* base = partials_.data() + block * tile_columns_ * (has_moments() ? 3 : 2);
  return {base, base + tile_columns_, has_moments() ? base + 2 * tile_columns_ : nullptr};
}

template <typename T>
T SoftmaxStatistics<T>::fold_maxima(const Block<T>& block, int64_t r, T* column_max) const {
  const int64_t row = block.first_row + r;
  if (members_ == Members::kAll) return fold_all(block.row(r), block.columns, row_max(row), column_max);
  const RowMembers members{groups_->code.data() + block.first_column, groups_->code[static_cast<size_t>(offset_ + row)],
                           members_ == Members::kPositives};
  return fold_members(block.row(r), block.columns, members, row_max(row), column_max);
}

template <typename T>
ColumnPartials<T> SoftmaxStatistics<T>::begin_block(const Block<T>& block) {
  const ColumnPartials<T> to = partials(block.index);
  std::fill_n(to.max, block.columns, static_cast<T>(kNoCosine));
  std::fill_n(to.sum, block.columns, T{0});
  if (has_moments()) std::fill_n(to.moment, block.columns, T{0});
  for (int64_t r = 0; r < block.rows; ++r) raise_row(block.first_row + r, fold_maxima(block, r, to.max));
  return to;
}

template <typename T>
void SoftmaxStatistics<T>::raise_row(int64_t row, T max) {
  const size_t i = static_cast<size_t>(row);
  const double shift = scales_.rows[i] * (row_max_[i] - static_cast<double>(max));
  const double factor = std::exp(shift);
  if (has_moments()) row_moment_[i] = factor * (row_moment_[i] + row_sum_[i] * shift);
  row_sum_[i] *= factor;
  row_max_[i] = static_cast<double>(max);
}

template <typename T>
void SoftmaxStatistics<T>::add_row(int64_t row, T sum, T moment) {
  row_sum_[static_cast<size_t>(row)] += static_cast<double>(sum);
  if (has_moments()) row_moment_[static_cast<size_t>(row)] += static_cast<double>(moment);
}

template <typename T>
void SoftmaxStatistics<T>::merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) {
  const int64_t column = tile_column + first;
  const double* scale = scales_.columns.data() + column;
  const SoftmaxColumns to{columns_.max + column, columns_.sum + column,
                          has_moments() ? columns_.moment + column : nullptr};
  for (int64_t block = 0; block < blocks; ++block) {
    const ColumnPartials<T> all = partials(block);
    const ColumnPartials<T> from{all.max + first, all.sum + first, has_moments() ? all.moment + first : nullptr};
    if (has_moments()) merge_moments(to, from, count, scale);
    merge_partials(to, from, count, scale);
  }
}

template <typename T>
void SoftmaxStatistics<T>::rebase_columns(const double* local_max) {
  for (int64_t j = 0; j < column_count_; ++j) {
    const double shift = scales_.columns[static_cast<size_t>(j)] * (local_max[j] - columns_.max[j]);
    const double factor = std::exp(shift);
    if (has_moments()) columns_.moment[j] = factor * (columns_.moment[j] + columns_.sum[j] * shift);
    columns_.sum[j] *= factor;
  }
}

template <typename T>
FoldPart<T> SoftmaxStatistics<T>::fold_part(const Groups& groups, const T* row_targets, T other_target) {
  device_scales_.assign(scales_.rows.begin(), scales_.rows.end());
  device_scales_.insert(device_scales_.end(), scales_.columns.begin(), scales_.columns.end());
  FoldPart<T> part;
  part.kind = FoldKind::kSoftmax;
  part.members = members_;
  part.moments = has_moments();
  take_codes(part, groups, offset_);
  part.row[0] = device_scales_.data();
  part.row[1] = row_targets;
  part.column[0] = device_scales_.data() + scales_.rows.size();
  part.constant[0] = other_target;
  part.row_result[0] = row_max_.data();
  part.row_result[1] = row_sum_.data();
  part.column_result[0] = columns_.max;
  part.column_result[1] = columns_.sum;
  if (has_moments()) {
    part.row_result[2] = row_moment_.data();
    part.column_result[2] = columns_.moment;
  }
  return part;
}

template class SoftmaxStatistics<float>;
template class SoftmaxStatistics<double>;

}  // namespace muster
