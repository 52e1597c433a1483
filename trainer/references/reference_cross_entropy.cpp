#include "trainer/references/reference_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

constexpr double kNoMaximum = -4.0;  // less than any cosine
constexpr int32_t kNobody = -1;      // the code of a column that is no row's own
constexpr int32_t kNowhere = -2;     // and of a row that has no own column

template <typename T>
MUSTER_INLINE T max_of(const T* __restrict s, int64_t n, T max) {
#pragma omp simd reduction(max : max)
  for (int64_t j = 0; j < n; ++j) max = s[j] > max ? s[j] : max;
  return max;
}

template <typename T>
MUSTER_INLINE T sum_exp_of(const T* __restrict s, int64_t n, T scale, T max) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) sum += fast_exp(scale * (s[j] - max));
  return sum;
}

template <typename T>
MUSTER_INLINE void add_softmax_of(const T* __restrict s, int64_t n, T scale, T max, T factor, T* __restrict weights) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) weights[j] += factor * fast_exp(scale * (s[j] - max));
}

MUSTER_VECTOR_CLONES float row_max(const float* s, int64_t n, float max) {
  return max_of(s, n, max);
}
MUSTER_VECTOR_CLONES double row_max(const double* s, int64_t n, double max) {
  return max_of(s, n, max);
}
MUSTER_VECTOR_CLONES float sum_exp(const float* s, int64_t n, float scale, float max) {
  return sum_exp_of(s, n, scale, max);
}
MUSTER_VECTOR_CLONES double sum_exp(const double* s, int64_t n, double scale, double max) {
  return sum_exp_of(s, n, scale, max);
}
MUSTER_VECTOR_CLONES void add_softmax(const float* s, int64_t n, float scale, float max, float factor, float* weights) {
  add_softmax_of(s, n, scale, max, factor, weights);
}
MUSTER_VECTOR_CLONES void add_softmax(const double* s, int64_t n, double scale, double max, double factor,
                                      double* weights) {
  add_softmax_of(s, n, scale, max, factor, weights);
}

}  // namespace

template <typename T>
ReferenceCrossEntropy<T>::ReferenceCrossEntropy(std::vector<ReferenceRange> own, std::vector<double> factor,
                                                double scale, int64_t columns)
    : own_(std::move(own)),
      factor_(std::move(factor)),
      scale_(static_cast<double>(static_cast<T>(scale))),
      columns_(columns),
      max_(own_.size(), kNoMaximum),
      sum_(own_.size(), 0.0),
      own_max_(own_.size(), kNoMaximum),
      own_sum_(own_.size(), 0.0) {}

// visit(column of the block) of the row's own references in it.
template <typename T>
template <typename Visit>
void ReferenceCrossEntropy<T>::visit_own(const Block<T>& block, size_t row, const Visit& visit) const {
  const int64_t begin = std::max<int64_t>(0, own_[row].begin - block.first_column);
  const int64_t end = std::min(block.columns, own_[row].end - block.first_column);
  for (int64_t column = begin; column < end; ++column) visit(column);
}

template <typename T>
void ReferenceCrossEntropy<T>::fold(const Block<T>& block) {
  for (int64_t r = 0; r < block.rows; ++r) {
    const auto i = static_cast<size_t>(block.first_row + r);
    const T* s = block.row(r);
    const T max = row_max(s, block.columns, static_cast<T>(max_[i]));
    sum_[i] = sum_[i] * std::exp(scale_ * (max_[i] - static_cast<double>(max))) +
              static_cast<double>(sum_exp(s, block.columns, static_cast<T>(scale_), max));
    max_[i] = static_cast<double>(max);
    visit_own(block, i, [&](int64_t column) {
      const double own = std::max(own_max_[i], static_cast<double>(s[column]));
      own_sum_[i] = own_sum_[i] * std::exp(scale_ * (own_max_[i] - own)) +
                    std::exp(scale_ * (static_cast<double>(s[column]) - own));
      own_max_[i] = own;
    });
  }
}

template <typename T>
void ReferenceCrossEntropy<T>::rebase(const std::vector<double>& max, const std::vector<double>& own_max) {
  for (size_t i = 0; i < max_.size(); ++i) {
    sum_[i] *= std::exp(scale_ * (max_[i] - max[i]));
    own_sum_[i] *= std::exp(scale_ * (own_max_[i] - own_max[i]));
  }
  max_ = max;
  own_max_ = own_max;
}

template <typename T>
double ReferenceCrossEntropy<T>::value(int64_t first, int64_t count) const {
  double value = 0;
  for (auto i = static_cast<size_t>(first); i < static_cast<size_t>(first + count); ++i) {
    value += factor_[i] * (std::log(sum_[i]) + scale_ * (max_[i] - own_max_[i]) - std::log(own_sum_[i]));
  }
  return value;
}

template <typename T>
void ReferenceCrossEntropy<T>::weigh(const Block<T>& block, T* weights) {
  for (int64_t r = 0; r < block.rows; ++r) {
    const auto i = static_cast<size_t>(block.first_row + r);
    const T* s = block.row(r);
    T* to = weights + r * block.columns;
    add_softmax(s, block.columns, static_cast<T>(scale_), static_cast<T>(max_[i]),
                static_cast<T>(scale_ * factor_[i] / sum_[i]), to);
    visit_own(block, i, [&](int64_t column) {
      const double share = std::exp(scale_ * (static_cast<double>(s[column]) - own_max_[i])) / own_sum_[i];
      to[column] -= static_cast<T>(scale_ * factor_[i] * share);
    });
  }
}

// Twice a softmax over a row: of all columns, and of its own ones.
template <typename T>
std::vector<FoldPart<T>> ReferenceCrossEntropy<T>::fold_program() {
  column_codes_.assign(static_cast<size_t>(columns_), kNobody);
  row_codes_.clear();
  for (const ReferenceRange& own : own_) {
    const auto code = static_cast<int32_t>(own.begin);
    row_codes_.push_back(own.begin < own.end ? code : kNowhere);
    for (int64_t column = own.begin; column < own.end; ++column) column_codes_[static_cast<size_t>(column)] = code;
  }
  FoldPart<T> all;
  all.kind = FoldKind::kSoftmax;
  all.row_codes = row_codes_.data();
  all.column_codes = column_codes_.data();
  all.constant[1] = static_cast<T>(scale_);
  FoldPart<T> own = all;
  all.row_result[0] = max_.data();
  all.row_result[1] = sum_.data();
  own.members = Members::kPositives;
  own.row_result[0] = own_max_.data();
  own.row_result[1] = own_sum_.data();
  return {all, own};
}

template <typename T>
std::vector<WeighPart<T>> ReferenceCrossEntropy<T>::weigh_program() {
  for (std::vector<T>& array : row_arrays_) array.clear();
  for (size_t i = 0; i < own_.size(); ++i) {
    row_arrays_[0].push_back(static_cast<T>(max_[i]));
    row_arrays_[1].push_back(static_cast<T>(scale_ * factor_[i] / sum_[i]));
    row_arrays_[2].push_back(static_cast<T>(own_max_[i]));
    row_arrays_[3].push_back(static_cast<T>(own_sum_[i] > 0 ? -scale_ * factor_[i] / own_sum_[i] : 0));
  }
  WeighPart<T> all;
  all.kind = WeighKind::kSoftmax;
  all.row_codes = row_codes_.data();
  all.column_codes = column_codes_.data();
  all.constant[1] = static_cast<T>(scale_);
  WeighPart<T> own = all;
  all.row[0] = row_arrays_[0].data();
  all.row[1] = row_arrays_[1].data();
  own.members = Members::kPositives;
  own.row[0] = row_arrays_[2].data();
  own.row[1] = row_arrays_[3].data();
  return {all, own};
}

template class ReferenceCrossEntropy<float>;
template class ReferenceCrossEntropy<double>;

}  // namespace muster
