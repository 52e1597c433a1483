#include "trainer/losses/identity_kl.h"

#include <algorithm>
#include <cmath>

#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

template <typename T>
struct FoldedRow {
  T sum;
  T moment;
};

// Of the block's columns.
template <typename T>
struct FoldColumns {
  const T* scale;
  const int32_t* codes;
};

template <typename T>
MUSTER_INLINE FoldedRow<T> fold_row_of(const T* __restrict s, int64_t n, T scale, T row_max,
                                       const KlTargets<T>& targets, const FoldColumns<T>& columns,
                                       const ColumnPartials<T>& partials) {
  const KlTargets<T> t = targets;
  const T* __restrict column_scale = columns.scale;
  const int32_t* __restrict codes = columns.codes;
  const T* __restrict column_max = partials.max;
  T* __restrict column_sum = partials.sum;
  T* __restrict column_moment = partials.moment;
  T sum = 0;
  T moment = 0;
#pragma omp simd reduction(+ : sum, moment)
  for (int64_t j = 0; j < n; ++j) {
    const T target = codes[j] == t.code ? t.positive : t.negative;
    const T u = scale * (s[j] - row_max);
    const T e = fast_exp(u);
    sum += e;
    moment += e * (u - target);
    const T column_u = column_scale[j] * (s[j] - column_max[j]);
    const T column_e = fast_exp(column_u);
    column_sum[j] += column_e;
    column_moment[j] += column_e * (column_u - target);
  }
  return {sum, moment};
}

MUSTER_VECTOR_CLONES FoldedRow<float> fold_row(const float* s, int64_t n, float scale, float row_max,
                                               const KlTargets<float>& targets, const FoldColumns<float>& columns,
                                               const ColumnPartials<float>& partials) {
  return fold_row_of(s, n, scale, row_max, targets, columns, partials);
}
MUSTER_VECTOR_CLONES FoldedRow<double> fold_row(const double* s, int64_t n, double scale, double row_max,
                                                const KlTargets<double>& targets, const FoldColumns<double>& columns,
                                                const ColumnPartials<double>& partials) {
  return fold_row_of(s, n, scale, row_max, targets, columns, partials);
}

template <typename T>
struct WeighColumns {
  const T* scale;
  const T* max;
  const T* factor;
  const T* mean;
  const int32_t* codes;
};

// One direction's share of a weight is factor * e * (u - l - mean), e = exp(u), u = scale * (s - max). Returns the sum
// of weight * u over the row's direction; the columns' go to `totals`, or into the same sum where there are none.
template <bool kTotals, typename T>
MUSTER_INLINE T weigh_row_of(const T* __restrict s, int64_t n, const KlRow<T>& row, const KlTargets<T>& targets,
                             const WeighColumns<T>& columns, T* __restrict weights, T* __restrict totals) {
  const KlRow<T> r = row;
  const KlTargets<T> t = targets;
  const T* __restrict column_scale = columns.scale;
  const T* __restrict column_max = columns.max;
  const T* __restrict column_factor = columns.factor;
  const T* __restrict column_mean = columns.mean;
  const int32_t* __restrict codes = columns.codes;
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < n; ++j) {
    const T target = codes[j] == t.code ? t.positive : t.negative;
    const T u = r.scale * (s[j] - r.max);
    const T column_u = column_scale[j] * (s[j] - column_max[j]);
    const T row_weight = r.factor * fast_exp(u) * (u - target - r.mean);
    const T column_weight = column_factor[j] * fast_exp(column_u) * (column_u - target - column_mean[j]);
    weights[j] += row_weight + column_weight;
    if constexpr (kTotals) {
      total += row_weight * u;
      totals[j] += column_weight * column_u;
    } else {
      total += row_weight * u + column_weight * column_u;
    }
  }
  return total;
}

MUSTER_VECTOR_CLONES float weigh_row(const float* s, int64_t n, const KlRow<float>& row,
                                     const KlTargets<float>& targets, const WeighColumns<float>& columns,
                                     float* weights) {
  return weigh_row_of<false>(s, n, row, targets, columns, weights, static_cast<float*>(nullptr));
}
MUSTER_VECTOR_CLONES double weigh_row(const double* s, int64_t n, const KlRow<double>& row,
                                      const KlTargets<double>& targets, const WeighColumns<double>& columns,
                                      double* weights) {
  return weigh_row_of<false>(s, n, row, targets, columns, weights, static_cast<double*>(nullptr));
}
MUSTER_VECTOR_CLONES float weigh_row_and_columns(const float* s, int64_t n, const KlRow<float>& row,
                                                 const KlTargets<float>& targets, const WeighColumns<float>& columns,
                                                 float* weights, float* totals) {
  return weigh_row_of<true>(s, n, row, targets, columns, weights, totals);
}
MUSTER_VECTOR_CLONES double weigh_row_and_columns(const double* s, int64_t n, const KlRow<double>& row,
                                                  const KlTargets<double>& targets, const WeighColumns<double>& columns,
                                                  double* weights, double* totals) {
  return weigh_row_of<true>(s, n, row, targets, columns, weights, totals);
}

}  // namespace

template <typename T>
PairNeeds IdentityKl<T>::needs() const {
  PairNeeds needs;
  needs.maxima = 1;
  needs.sums = 2;
  needs.norms = has_column_totals_;
  needs.norm_gradient = has_column_totals_;
  return needs;
}

template <typename T>
void IdentityKl<T>::begin(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape) {
  batch_ = &batch;
  AnchorScales anchor_scales = scales(batch);
  column_scale_.assign(anchor_scales.columns.begin(), anchor_scales.columns.end());
  softmax_ = std::make_unique<SoftmaxStatistics<T>>(
      batch, SoftmaxColumns{columns.maxima.at(0), columns.sums.at(0), columns.sums.at(1)}, shape,
      std::move(anchor_scales));
  row_totals_.assign(static_cast<size_t>(batch.rows), 0.0);
  for (int64_t row = 0; row < batch.rows; ++row) {
    const size_t own = static_cast<size_t>(batch.offset + row);
    const double positive = std::log(target(batch.identities.count[own]) + epsilon_);
    targets_.push_back({batch.identities.code[own], static_cast<T>(positive), static_cast<T>(std::log(epsilon_))});
  }
  if (!has_column_totals_) return;
  tile_columns_ = std::min(shape.columns, batch.columns);
  column_totals_.assign(static_cast<size_t>(batch.columns), 0.0);
  partial_totals_.resize(static_cast<size_t>(shape.weigh_blocks() * tile_columns_));
}

template <typename T>
void IdentityKl<T>::fold(const Block<T>& block) {
  const ColumnPartials<T> partials = softmax_->begin_block(block);
  const FoldColumns<T> columns{column_scale_.data() + block.first_column,
                               batch_->identities.code.data() + block.first_column};
  for (int64_t r = 0; r < block.rows; ++r) {
    const int64_t row = block.first_row + r;
    const FoldedRow<T> folded = fold_row(block.row(r), block.columns, static_cast<T>(softmax_->row_scale(row)),
                                         softmax_->row_max(row), targets_[static_cast<size_t>(row)], columns, partials);
    softmax_->add_row(row, folded.sum, folded.moment);
  }
}

template <typename T>
void IdentityKl<T>::merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) {
  softmax_->merge(tile_column, first, count, blocks);
}

template <typename T>
void IdentityKl<T>::rebase(const std::vector<const double*>& local) {
  softmax_->rebase_columns(local.at(0));
}

template <typename T>
double IdentityKl<T>::finish(double weight) {
  const double factor = weight / batch_->weight_sum;
  double value = 0;
  for (int64_t row = 0; row < batch_->rows; ++row) {
    const int64_t own = batch_->offset + row;
    const double anchor = batch_->weight[static_cast<size_t>(own)];
    const double sum = softmax_->row_sum(row);
    const double mean = softmax_->row_moment(row) / sum;
    const double column_mean = softmax_->column_moment(own) / softmax_->column_sum(own);
    value += anchor * (mean - std::log(sum) + column_mean - std::log(softmax_->column_sum(own)));
    rows_.push_back({static_cast<T>(softmax_->row_scale(row)), softmax_->row_max(row),
                     static_cast<T>(factor * anchor * softmax_->row_scale(row) / sum), static_cast<T>(mean)});
  }
  for (int64_t column = 0; column < batch_->columns; ++column) {
    const double anchor = batch_->weight[static_cast<size_t>(column)];
    const double sum = softmax_->column_sum(column);
    column_max_.push_back(static_cast<T>(softmax_->column_max(column)));
    column_factor_.push_back(static_cast<T>(factor * anchor * softmax_->column_scale(column) / sum));
    column_mean_.push_back(static_cast<T>(softmax_->column_moment(column) / sum));
  }
  return value / batch_->weight_sum;
}

template <typename T>
void IdentityKl<T>::weigh(const Block<T>& block, T* weights) {
  const int64_t first = block.first_column;
  const WeighColumns<T> columns{column_scale_.data() + first, column_max_.data() + first, column_factor_.data() + first,
                                column_mean_.data() + first, batch_->identities.code.data() + first};
  T* totals = partial_totals_.data() + block.index * tile_columns_;
  if (has_column_totals_) std::fill_n(totals, block.columns, T{0});
  for (int64_t r = 0; r < block.rows; ++r) {
    const size_t i = static_cast<size_t>(block.first_row + r);
    const T* s = block.row(r);
    T* w = weights + r * block.columns;
    const T total = has_column_totals_
                        ? weigh_row_and_columns(s, block.columns, rows_[i], targets_[i], columns, w, totals)
                        : weigh_row(s, block.columns, rows_[i], targets_[i], columns, w);
    row_totals_[i] += static_cast<double>(total);
  }
}

template <typename T>
void IdentityKl<T>::merge_weights(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) {
  if (!has_column_totals_) return;
  for (int64_t block = 0; block < blocks; ++block) {
    const T* totals = partial_totals_.data() + block * tile_columns_;
    for (int64_t j = first; j < first + count; ++j) {
      column_totals_[static_cast<size_t>(tile_column + j)] += static_cast<double>(totals[j]);
    }
  }
}

template <typename T>
std::vector<FoldPart<T>> IdentityKl<T>::fold_program() {
  std::vector<T>& targets = row_arrays_[3];
  targets.clear();
  for (const KlTargets<T>& row : targets_) targets.push_back(row.positive);
  return {softmax_->fold_part(batch_->identities, targets.data(), static_cast<T>(std::log(epsilon_)))};
}

template <typename T>
std::vector<WeighPart<T>> IdentityKl<T>::weigh_program() {
  for (std::vector<T>& array : row_arrays_) array.clear();
  for (size_t i = 0; i < rows_.size(); ++i) {
    row_arrays_[0].push_back(rows_[i].max);
    row_arrays_[1].push_back(rows_[i].factor);
    row_arrays_[2].push_back(rows_[i].mean);
    row_arrays_[3].push_back(targets_[i].positive);
    row_arrays_[4].push_back(rows_[i].scale);
  }
  WeighPart<T> part;
  part.kind = WeighKind::kSoftmax;
  take_codes(part, batch_->identities, batch_->offset);
  for (size_t k = 0; k < 5; ++k) part.row[k] = row_arrays_[k].data();
  part.column[0] = column_max_.data();
  part.column[1] = column_factor_.data();
  part.column[2] = column_mean_.data();
  part.column[4] = column_scale_.data();
  part.constant[0] = static_cast<T>(std::log(epsilon_));
  part.row_total[0] = row_totals_.data();
  if (has_column_totals_) part.column_total = column_totals_.data();
  return {part};
}

template class IdentityKl<float>;
template class IdentityKl<double>;

}  // namespace muster
