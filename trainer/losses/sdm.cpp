// Similarity distribution matching (Jiang and Ye, IRRA, CVPR 2023; github.com/anosorae/IRRA, model/objectives.py).
//
// For a row i, with x = scale * s, p = softmax_j(x_ij), targets t_ij = y_ij / n_i and l = log(t + epsilon):
//                  KL_i = sum_j p_ij (log p_ij - l_ij)
// and for a column j alike with its probabilities q. Mean over anchors, sum of the two directions:
//                  L = (sum_i KL_i + sum_j KL_j) / B
// With u = x - max, Z = sum exp(u), H = sum exp(u) (u - l):
//                  KL = H / Z - log Z,      dL/dx = (p (u_row - l - H_i / Z_i) + q (u_column - l - H_j / Z_j)) / B
#include <cmath>
#include <numeric>

#include "trainer/losses/losses.pb.h"
#include "trainer/losses/pair_loss.h"
#include "trainer/losses/softmax_statistics.h"
#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

// l of the pairs of one row.
template <typename T>
struct RowTargets {
  int32_t code;
  T positive;
  T negative;
};

template <typename T>
struct FoldedRow {
  T sum;
  T moment;
};

template <typename T>
MUSTER_INLINE FoldedRow<T> fold_row_of(const T* __restrict s, int64_t n, T scale, T row_max, const int32_t* codes,
                                       const RowTargets<T>& targets, const ColumnPartials<T>& columns) {
  const RowTargets<T> t = targets;
  const T* __restrict column_max = columns.max;
  T* __restrict column_sum = columns.sum;
  T* __restrict column_moment = columns.moment;
  T sum = 0;
  T moment = 0;
#pragma omp simd reduction(+ : sum, moment)
  for (int64_t j = 0; j < n; ++j) {
    const T target = codes[j] == t.code ? t.positive : t.negative;
    const T u = scale * (s[j] - row_max);
    const T e = fast_exp(u);
    sum += e;
    moment += e * (u - target);
    const T column_u = scale * (s[j] - column_max[j]);
    const T column_e = fast_exp(column_u);
    column_sum[j] += column_e;
    column_moment[j] += column_e * (column_u - target);
  }
  return {sum, moment};
}

MUSTER_VECTOR_CLONES FoldedRow<float> fold_row(const float* s, int64_t n, float scale, float row_max,
                                               const int32_t* codes, const RowTargets<float>& targets,
                                               const ColumnPartials<float>& columns) {
  return fold_row_of(s, n, scale, row_max, codes, targets, columns);
}
MUSTER_VECTOR_CLONES FoldedRow<double> fold_row(const double* s, int64_t n, double scale, double row_max,
                                                const int32_t* codes, const RowTargets<double>& targets,
                                                const ColumnPartials<double>& columns) {
  return fold_row_of(s, n, scale, row_max, codes, targets, columns);
}

// One direction's share of a weight is factor * e * (u - l - mean), e = exp(u), u = scale * (s - max).
template <typename T>
struct RowFactors {
  T scale;
  T max;
  T factor;
  T mean;
};

template <typename T>
struct ColumnFactors {
  const T* max;
  const T* factor;
  const T* mean;
  const int32_t* codes;
};

// Returns the sum over both directions of weight * u. A direction's weights add up to zero, so that u serves as well as
// x, and rounds less where all cosines are near 1.
template <typename T>
MUSTER_INLINE T weigh_row_of(const T* __restrict s, int64_t n, const RowFactors<T>& row, const RowTargets<T>& targets,
                             const ColumnFactors<T>& columns, T* __restrict weights) {
  const RowFactors<T> r = row;
  const RowTargets<T> t = targets;
  const T* __restrict column_max = columns.max;
  const T* __restrict column_factor = columns.factor;
  const T* __restrict column_mean = columns.mean;
  const int32_t* __restrict codes = columns.codes;
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < n; ++j) {
    const T target = codes[j] == t.code ? t.positive : t.negative;
    const T u = r.scale * (s[j] - r.max);
    const T column_u = r.scale * (s[j] - column_max[j]);
    const T row_weight = r.factor * fast_exp(u) * (u - target - r.mean);
    const T column_weight = column_factor[j] * fast_exp(column_u) * (column_u - target - column_mean[j]);
    weights[j] += row_weight + column_weight;
    total += row_weight * u + column_weight * column_u;
  }
  return total;
}

MUSTER_VECTOR_CLONES float weigh_row(const float* s, int64_t n, const RowFactors<float>& row,
                                     const RowTargets<float>& targets, const ColumnFactors<float>& columns,
                                     float* weights) {
  return weigh_row_of(s, n, row, targets, columns, weights);
}
MUSTER_VECTOR_CLONES double weigh_row(const double* s, int64_t n, const RowFactors<double>& row,
                                      const RowTargets<double>& targets, const ColumnFactors<double>& columns,
                                      double* weights) {
  return weigh_row_of(s, n, row, targets, columns, weights);
}

template <typename T>
class SdmLoss : public PairLoss<T> {
 public:
  SdmLoss(double epsilon, double scale) : epsilon_(epsilon), scale_(static_cast<double>(static_cast<T>(scale))) {}

  ColumnNeeds needs() const override { return {1, 2, 0}; }

  void begin(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape) override {
    batch_ = &batch;
    softmax_ = std::make_unique<SoftmaxStatistics<T>>(batch, columns, shape, scale_, true);
    scale_gradient_.assign(static_cast<size_t>(batch.rows), 0.0);
    for (int64_t row = 0; row < batch.rows; ++row) {
      const size_t own = static_cast<size_t>(batch.offset + row);
      const double positive = std::log(1.0 / static_cast<double>(batch.identities.count[own]) + epsilon_);
      targets_.push_back({batch.identities.code[own], static_cast<T>(positive), static_cast<T>(std::log(epsilon_))});
    }
  }

  void fold(const Block<T>& block) override {
    const ColumnPartials<T> partials = softmax_->begin_block(block);
    const int32_t* codes = batch_->identities.code.data() + block.first_column;
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const FoldedRow<T> folded = fold_row(block.row(r), block.columns, static_cast<T>(scale_), softmax_->row_max(row),
                                           codes, targets_[static_cast<size_t>(row)], partials);
      softmax_->add_row(row, folded.sum, folded.moment);
    }
  }

  void merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) override {
    softmax_->merge(tile_column, first, count, blocks);
  }

  void rebase(const std::vector<const double*>& local) override { softmax_->rebase_columns(local.at(0)); }

  double finish(double weight) override {
    const double anchors = static_cast<double>(batch_->columns);
    const double factor = weight * scale_ / anchors;
    double value = 0;
    for (int64_t row = 0; row < batch_->rows; ++row) {
      const int64_t own = batch_->offset + row;
      const double sum = softmax_->row_sum(row);
      const double mean = softmax_->row_moment(row) / sum;
      const double column_mean = softmax_->column_moment(own) / softmax_->column_sum(own);
      value += mean - std::log(sum) + column_mean - std::log(softmax_->column_sum(own));
      rows_.push_back(
          {static_cast<T>(scale_), softmax_->row_max(row), static_cast<T>(factor / sum), static_cast<T>(mean)});
    }
    for (int64_t column = 0; column < batch_->columns; ++column) {
      const double sum = softmax_->column_sum(column);
      column_max_.push_back(static_cast<T>(softmax_->column_max(column)));
      column_factor_.push_back(static_cast<T>(factor / sum));
      column_mean_.push_back(static_cast<T>(softmax_->column_moment(column) / sum));
    }
    return value / anchors;
  }

  void weigh(const Block<T>& block, T* weights) override {
    const ColumnFactors<T> columns{column_max_.data() + block.first_column, column_factor_.data() + block.first_column,
                                   column_mean_.data() + block.first_column,
                                   batch_->identities.code.data() + block.first_column};
    for (int64_t r = 0; r < block.rows; ++r) {
      const size_t i = static_cast<size_t>(block.first_row + r);
      const T total =
          weigh_row(block.row(r), block.columns, rows_[i], targets_[i], columns, weights + r * block.columns);
      scale_gradient_[i] += static_cast<double>(total);
    }
  }

  double scale_gradient() const override {
    return std::accumulate(scale_gradient_.begin(), scale_gradient_.end(), 0.0) / scale_;
  }

 private:
  double epsilon_;
  double scale_;
  const PairBatch* batch_ = nullptr;
  std::unique_ptr<SoftmaxStatistics<T>> softmax_;
  std::vector<double> scale_gradient_;
  std::vector<RowTargets<T>> targets_;
  std::vector<RowFactors<T>> rows_;
  std::vector<T> column_max_;
  std::vector<T> column_factor_;
  std::vector<T> column_mean_;
};

}  // namespace

template <typename T>
std::unique_ptr<PairLoss<T>> make_sdm(const Sdm& config, double scale) {
  return std::make_unique<SdmLoss<T>>(config.epsilon(), scale);
}

template std::unique_ptr<PairLoss<float>> make_sdm(const Sdm& config, double scale);
template std::unique_ptr<PairLoss<double>> make_sdm(const Sdm& config, double scale);

}  // namespace muster
