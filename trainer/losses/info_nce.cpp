// InfoNCE (Radford et al., CLIP, 2021), with one or several positives per anchor.
//
// For a row i:     l_i = LSE_j(x_ij) - (1 / n_i) sum_{j positive} x_ij,   x = scale * s,   n_i its number of positives
// and for a column j alike. The loss is the mean over anchors and the mean of the two directions:
//                  L = (sum_i l_i + sum_j l_j) / (2 B)
// Equal codes share n, so both directions have the same sum over positives, and rows alone suffice for it. With the row
// probabilities p and the column probabilities q of a pair:
//                  dL/dx = (p + q - 2 y / n) / (2 B)
#include <cmath>
#include <numeric>

#include "trainer/losses/losses.pb.h"
#include "trainer/losses/pair_loss.h"
#include "trainer/losses/softmax_statistics.h"
#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

template <typename T>
struct FoldedRow {
  T sum;
  T positive;  // sum of positive cosines
};

template <typename T>
MUSTER_INLINE FoldedRow<T> fold_row_of(const T* __restrict s, int64_t n, T scale, T row_max, const int32_t* codes,
                                       int32_t code, const ColumnPartials<T>& columns) {
  T sum = 0;
  T positive = 0;
  const T* __restrict column_max = columns.max;
  T* __restrict column_sum = columns.sum;
#pragma omp simd reduction(+ : sum, positive)
  for (int64_t j = 0; j < n; ++j) {
    sum += fast_exp(scale * (s[j] - row_max));
    column_sum[j] += fast_exp(scale * (s[j] - column_max[j]));
    positive += codes[j] == code ? s[j] : T{0};
  }
  return {sum, positive};
}

MUSTER_VECTOR_CLONES FoldedRow<float> fold_row(const float* s, int64_t n, float scale, float row_max,
                                               const int32_t* codes, int32_t code,
                                               const ColumnPartials<float>& columns) {
  return fold_row_of(s, n, scale, row_max, codes, code, columns);
}
MUSTER_VECTOR_CLONES FoldedRow<double> fold_row(const double* s, int64_t n, double scale, double row_max,
                                                const int32_t* codes, int32_t code,
                                                const ColumnPartials<double>& columns) {
  return fold_row_of(s, n, scale, row_max, codes, code, columns);
}

// One direction's share of a weight is factor * exp(scale * (s - max)).
template <typename T>
struct RowFactors {
  T scale;
  T max;
  T factor;
  T target;  // what a positive pair loses
  int32_t code;
};

template <typename T>
struct ColumnFactors {
  const T* max;
  const T* factor;
  const int32_t* codes;
};

// Returns the sum over both softmaxes of weight * u, u = x - max of its direction. Counting from the maximum keeps the
// rounding small where all cosines are near 1.
template <typename T>
MUSTER_INLINE T weigh_row_of(const T* __restrict s, int64_t n, const RowFactors<T>& row,
                             const ColumnFactors<T>& columns, T* __restrict weights) {
  const T* __restrict column_max = columns.max;
  const T* __restrict column_factor = columns.factor;
  const int32_t* __restrict codes = columns.codes;
  const RowFactors<T> r = row;
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < n; ++j) {
    const T u = r.scale * (s[j] - r.max);
    const T column_u = r.scale * (s[j] - column_max[j]);
    const T row_weight = r.factor * fast_exp(u);
    const T column_weight = column_factor[j] * fast_exp(column_u);
    weights[j] += row_weight + column_weight - (codes[j] == r.code ? r.target : T{0});
    total += row_weight * u + column_weight * column_u;
  }
  return total;
}

MUSTER_VECTOR_CLONES float weigh_row(const float* s, int64_t n, const RowFactors<float>& row,
                                     const ColumnFactors<float>& columns, float* weights) {
  return weigh_row_of(s, n, row, columns, weights);
}
MUSTER_VECTOR_CLONES double weigh_row(const double* s, int64_t n, const RowFactors<double>& row,
                                      const ColumnFactors<double>& columns, double* weights) {
  return weigh_row_of(s, n, row, columns, weights);
}

template <typename T>
class InfoNceLoss : public PairLoss<T> {
 public:
  InfoNceLoss(Positives positives, double scale)
      : positives_(positives), scale_(static_cast<double>(static_cast<T>(scale))) {}

  ColumnNeeds needs() const override { return {1, 1, 0}; }

  void begin(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape) override {
    batch_ = &batch;
    groups_ = positives_ == PAIR ? &batch.pairs : &batch.identities;
    softmax_ = std::make_unique<SoftmaxStatistics<T>>(batch, columns, shape, scale_, false);
    positive_.assign(static_cast<size_t>(batch.rows), 0.0);
    softmax_gradient_.assign(static_cast<size_t>(batch.rows), 0.0);
  }

  void fold(const Block<T>& block) override {
    const ColumnPartials<T> partials = softmax_->begin_block(block);
    const int32_t* codes = groups_->code.data() + block.first_column;
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const FoldedRow<T> folded = fold_row(block.row(r), block.columns, static_cast<T>(scale_), softmax_->row_max(row),
                                           codes, code_of(row), partials);
      softmax_->add_row(row, folded.sum, T{0});
      positive_[static_cast<size_t>(row)] += static_cast<double>(folded.positive);
    }
  }

  void merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) override {
    softmax_->merge(tile_column, first, count, blocks);
  }

  void rebase(const std::vector<const double*>& local) override { softmax_->rebase_columns(local.at(0)); }

  double finish(double weight) override {
    const double anchors = 2.0 * static_cast<double>(batch_->columns);
    const double factor = weight * scale_ / anchors;
    double value = 0;
    for (int64_t row = 0; row < batch_->rows; ++row) {
      const int64_t own = batch_->offset + row;
      const double positives = static_cast<double>(groups_->count[static_cast<size_t>(own)]);
      // The mean positive, once in each direction, counted from the two maxima.
      const double target = scale_ * (2 * positive_[static_cast<size_t>(row)] / positives -
                                      static_cast<double>(softmax_->row_max(row)) - softmax_->column_max(own));
      value += std::log(softmax_->row_sum(row)) + std::log(softmax_->column_sum(own)) - target;
      target_gradient_ += factor * target;
      row_factor_.push_back(static_cast<T>(factor / softmax_->row_sum(row)));
      target_.push_back(static_cast<T>(2 * factor / positives));
    }
    for (int64_t column = 0; column < batch_->columns; ++column) {
      column_max_.push_back(static_cast<T>(softmax_->column_max(column)));
      column_factor_.push_back(static_cast<T>(factor / softmax_->column_sum(column)));
    }
    return value / anchors;
  }

  void weigh(const Block<T>& block, T* weights) override {
    const ColumnFactors<T> columns{column_max_.data() + block.first_column, column_factor_.data() + block.first_column,
                                   groups_->code.data() + block.first_column};
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const size_t i = static_cast<size_t>(row);
      const RowFactors<T> factors{static_cast<T>(scale_), softmax_->row_max(row), row_factor_[i], target_[i],
                                  code_of(row)};
      const T total = weigh_row(block.row(r), block.columns, factors, columns, weights + r * block.columns);
      softmax_gradient_[i] += static_cast<double>(total);
    }
  }

  // d L / d log(scale) = sum of dL/dx * x. The softmaxes' part comes from the weights dL/ds = scale * dL/dx; the
  // targets' part, x counted from the same maxima, is known in double from finish().
  double scale_gradient() const override {
    return std::accumulate(softmax_gradient_.begin(), softmax_gradient_.end(), -target_gradient_) / scale_;
  }

 private:
  int32_t code_of(int64_t row) const { return groups_->code[static_cast<size_t>(batch_->offset + row)]; }

  Positives positives_;
  double scale_;
  const PairBatch* batch_ = nullptr;
  const Groups* groups_ = nullptr;
  std::unique_ptr<SoftmaxStatistics<T>> softmax_;
  std::vector<double> positive_;
  std::vector<double> softmax_gradient_;
  double target_gradient_ = 0;
  std::vector<T> row_factor_;
  std::vector<T> target_;
  std::vector<T> column_max_;
  std::vector<T> column_factor_;
};

}  // namespace

template <typename T>
std::unique_ptr<PairLoss<T>> make_info_nce(const InfoNce& config, double scale) {
  return std::make_unique<InfoNceLoss<T>>(config.positives(), scale);
}

template std::unique_ptr<PairLoss<float>> make_info_nce(const InfoNce& config, double scale);
template std::unique_ptr<PairLoss<double>> make_info_nce(const InfoNce& config, double scale);

}  // namespace muster
