// Cross-entropy of each positive against the anchor's negatives alone: the anchor's other positives are in nobody's
// denominator. With one positive an anchor that is InfoNCE; with several it is what NTXentLoss of
// pytorch-metric-learning takes of each positive pair, here averaged over an anchor's positives first, and the L_CL of
// MMRef (Ma et al., 2025) as far as its arguments, a set of positives and one of negatives, tell.
//
// For a row i, x = scale * s, P its positives (same identity), n their number:
//                  l_i = (1 / n) sum_{p in P} log(1 + exp(N_i - x_ip)),   N_i = LSE_{k not in P} x_ik
// and for a column j alike. The loss is the mean over anchors, of weights w, and the mean of the two directions:
//                  L = (sum_i w_i l_i + sum_j w_j l_j) / (2 sum w)
// With z_ip = 1 / (1 + exp(x_ip - N_i)), what is left of the negatives beside positive p:
//                  dl_i/dx_ip = -z_ip / n,    dl_i/dx_ik = exp(x_ik - N_i) Z_i,   Z_i = (1 / n) sum_{p in P} z_ip
// Z needs N, which is known after the pass over all pairs: it comes from the pass over positives. An anchor without
// negatives has no loss.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "trainer/losses/loss_term.h"
#include "trainer/losses/losses.pb.h"
#include "trainer/losses/softmax_statistics.h"
#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

// Of the block's columns.
struct Codes {
  const int32_t* columns;
  int32_t row;
};

template <typename T>
MUSTER_INLINE T fold_row_of(const T* __restrict s, int64_t n, const Codes& codes, T scale, T max,
                            const ColumnPartials<T>& partials) {
  const int32_t* __restrict column_codes = codes.columns;
  const int32_t code = codes.row;
  const T* __restrict column_max = partials.max;
  T* __restrict column_sum = partials.sum;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) {
    const T counts = column_codes[j] == code ? T{0} : T{1};
    sum += counts * fast_exp(scale * (s[j] - max) * counts);
    column_sum[j] += counts * fast_exp(scale * (s[j] - column_max[j]) * counts);
  }
  return sum;
}

MUSTER_VECTOR_CLONES float fold_row(const float* s, int64_t n, const Codes& codes, float scale, float max,
                                    const ColumnPartials<float>& partials) {
  return fold_row_of(s, n, codes, scale, max, partials);
}
MUSTER_VECTOR_CLONES double fold_row(const double* s, int64_t n, const Codes& codes, double scale, double max,
                                     const ColumnPartials<double>& partials) {
  return fold_row_of(s, n, codes, scale, max, partials);
}

// One anchor. Logits are counted from its largest negative.
template <typename T>
struct Anchor {
  T max;
  T log_sum;   // N = scale * max + log_sum
  T negative;  // dL/ds of a negative is this times exp(scale * (s - max))
  T positive;  // dL/ds of a positive is minus this times z
};

template <typename T>
struct Anchors {
  std::vector<T> max, log_sum, negative, positive;

  void add(const Anchor<T>& anchor) {
    max.push_back(anchor.max);
    log_sum.push_back(anchor.log_sum);
    negative.push_back(anchor.negative);
    positive.push_back(anchor.positive);
  }
  Anchor<T> operator[](size_t i) const { return {max[i], log_sum[i], negative[i], positive[i]}; }
};

// Of the block's columns.
template <typename T>
struct ColumnAnchors {
  const T* max;
  const T* log_sum;
  const T* negative;
  const T* positive;
};

// One direction's part of dL/ds, u = scale * (s - max).
template <typename T>
MUSTER_INLINE T weight_of(T u, bool is_positive, T log_sum, T negative, T positive) {
  const T distance = u - log_sum;  // x - N
  const T size = distance < 0 ? -distance : distance;
  const T e = fast_exp(is_positive ? -size : u);
  const T z = (distance < 0 ? T{1} : e) / (1 + e);
  return is_positive ? -positive * z : negative * e;
}

// Returns the sum over both directions of weight * u. Each anchor's weights add up to zero, so that it does not matter
// from where logits are counted.
template <typename T>
MUSTER_INLINE T weigh_row_of(const T* __restrict s, int64_t n, const Codes& codes, T scale, const Anchor<T>& row,
                             const ColumnAnchors<T>& columns, T* __restrict weights) {
  const int32_t* __restrict column_codes = codes.columns;
  const int32_t code = codes.row;
  const T* __restrict column_max = columns.max;
  const T* __restrict column_log_sum = columns.log_sum;
  const T* __restrict column_negative = columns.negative;
  const T* __restrict column_positive = columns.positive;
  const Anchor<T> r = row;
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < n; ++j) {
    const bool is_positive = column_codes[j] == code;
    const T u = scale * (s[j] - r.max);
    const T column_u = scale * (s[j] - column_max[j]);
    const T row_weight = weight_of(u, is_positive, r.log_sum, r.negative, r.positive);
    const T column_weight = weight_of(column_u, is_positive, column_log_sum[j], column_negative[j], column_positive[j]);
    weights[j] += row_weight + column_weight;
    total += row_weight * u + column_weight * column_u;
  }
  return total;
}

MUSTER_VECTOR_CLONES float weigh_row(const float* s, int64_t n, const Codes& codes, float scale,
                                     const Anchor<float>& row, const ColumnAnchors<float>& columns, float* weights) {
  return weigh_row_of(s, n, codes, scale, row, columns, weights);
}
MUSTER_VECTOR_CLONES double weigh_row(const double* s, int64_t n, const Codes& codes, double scale,
                                      const Anchor<double>& row, const ColumnAnchors<double>& columns,
                                      double* weights) {
  return weigh_row_of(s, n, codes, scale, row, columns, weights);
}

template <typename T>
class NtXentLoss : public PairLoss<T> {
 public:
  NtXentLoss(const NtXent& config, const LogitParameters& logits)
      : scale_(
            static_cast<double>(static_cast<T>(config.has_temperature() ? 1 / config.temperature() : logits.scale))) {}

  PairNeeds needs() const override {
    PairNeeds needs;
    needs.maxima = 1;
    needs.sums = 1;
    needs.positive_sums = 1;
    return needs;
  }

  void begin(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape) override {
    batch_ = &batch;
    negatives_ = std::make_unique<SoftmaxStatistics<T>>(
        batch, SoftmaxColumns{columns.maxima.at(0), columns.sums.at(0), nullptr}, shape, same_scale(batch, scale_),
        Members::kNegatives, &batch.identities);
    column_left_ = columns.positive_sums.at(0);
    row_left_.assign(static_cast<size_t>(batch.rows), 0.0);
    softmax_gradient_.assign(static_cast<size_t>(batch.rows), 0.0);
  }

  void fold(const Block<T>& block) override {
    const ColumnPartials<T> partials = negatives_->begin_block(block);
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const T sum = fold_row(block.row(r), block.columns, codes(row, block.first_column), static_cast<T>(scale_),
                             negatives_->row_max(row), partials);
      negatives_->add_row(row, sum, T{0});
    }
  }

  void merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) override {
    negatives_->merge(tile_column, first, count, blocks);
  }

  void rebase(const std::vector<const double*>& local) override { negatives_->rebase_columns(local.at(0)); }

  void visit_positive(int64_t row, int64_t column, double cosine) override {
    const auto i = static_cast<size_t>(batch_->offset + row), j = static_cast<size_t>(column);
    const Positive of_row = positive(cosine, static_cast<double>(negatives_->row_max(row)), negatives_->row_sum(row));
    const Positive of_column = positive(cosine, negatives_->column_max(column), negatives_->column_sum(column));
    value_ += batch_->weight[i] / count(i) * of_row.loss + batch_->weight[j] / count(j) * of_column.loss;
    row_left_[static_cast<size_t>(row)] += of_row.left;
    column_left_[j] += of_column.left;
  }

  double finish(double weight) override {
    const double anchors = 2.0 * batch_->weight_sum;
    const double factor = weight * scale_ / anchors;
    for (int64_t row = 0; row < batch_->rows; ++row) {
      rows_.add(anchor(static_cast<double>(negatives_->row_max(row)), negatives_->row_sum(row),
                       row_left_[static_cast<size_t>(row)], static_cast<size_t>(batch_->offset + row), factor));
    }
    for (int64_t column = 0; column < batch_->columns; ++column) {
      const auto j = static_cast<size_t>(column);
      columns_.add(anchor(negatives_->column_max(column), negatives_->column_sum(column), column_left_[j], j, factor));
    }
    return value_ / anchors;
  }

  void weigh(const Block<T>& block, T* weights) override {
    const int64_t first = block.first_column;
    const ColumnAnchors<T> columns{columns_.max.data() + first, columns_.log_sum.data() + first,
                                   columns_.negative.data() + first, columns_.positive.data() + first};
    for (int64_t r = 0; r < block.rows; ++r) {
      const auto row = static_cast<size_t>(block.first_row + r);
      const T total = weigh_row(block.row(r), block.columns, codes(block.first_row + r, first), static_cast<T>(scale_),
                                rows_[row], columns, weights + r * block.columns);
      softmax_gradient_[row] += static_cast<double>(total);
    }
  }

  double scale_gradient() const override {
    return std::accumulate(softmax_gradient_.begin(), softmax_gradient_.end(), 0.0) / scale_;
  }

  std::vector<FoldPart<T>> fold_program() override { return {negatives_->fold_part(batch_->identities)}; }

  std::vector<WeighPart<T>> weigh_program() override {
    WeighPart<T> negatives;
    negatives.kind = WeighKind::kSoftmax;
    negatives.members = Members::kNegatives;
    take_codes(negatives, batch_->identities, batch_->offset);
    negatives.row[0] = rows_.max.data();
    negatives.column[0] = columns_.max.data();
    negatives.constant[1] = static_cast<T>(scale_);
    negatives.row_total[0] = softmax_gradient_.data();
    WeighPart<T> positives = negatives;
    negatives.row[1] = rows_.negative.data();
    negatives.column[1] = columns_.negative.data();
    positives.kind = WeighKind::kRivals;
    positives.row[1] = rows_.positive.data();
    positives.row[2] = rows_.log_sum.data();
    positives.column[1] = columns_.positive.data();
    positives.column[2] = columns_.log_sum.data();
    return {negatives, positives};
  }

 private:
  struct Positive {
    double loss = 0;
    double left = 0;
  };

  Codes codes(int64_t row, int64_t first_column) const {
    const std::vector<int32_t>& all = batch_->identities.code;
    return {all.data() + first_column, all[static_cast<size_t>(batch_->offset + row)]};
  }
  double count(size_t column) const { return batch_->identities.count[column]; }

  // `max` and `sum` of the anchor's negatives; a sum of 0 gives an infinite distance, and so no loss.
  Positive positive(double cosine, double max, double sum) const {
    const double distance = scale_ * (cosine - max) - std::log(sum);
    const double e = std::exp(-std::fabs(distance));
    return {std::max(0.0, -distance) + std::log1p(e), (distance < 0 ? 1 : e) / (1 + e)};
  }

  Anchor<T> anchor(double max, double sum, double left, size_t column, double factor) const {
    if (max == kNoCosine) return {T{0}, T{0}, T{0}, T{0}};
    const double share = factor * batch_->weight[column] / count(column);
    return {static_cast<T>(max), static_cast<T>(std::log(sum)), static_cast<T>(share * left / sum),
            static_cast<T>(share)};
  }

  double scale_;
  const PairBatch* batch_ = nullptr;
  std::unique_ptr<SoftmaxStatistics<T>> negatives_;
  std::vector<double> row_left_;   // sums of z
  double* column_left_ = nullptr;  // [columns]
  double value_ = 0;
  Anchors<T> rows_;
  Anchors<T> columns_;
  std::vector<double> softmax_gradient_;
};

}  // namespace

LossTerm describe(const NtXent& config, const std::string& path, Checks& checks) {
  if (config.has_temperature()) checks.positive(path + ".temperature", config.temperature());
  LossTerm term = make_loss_term<NtXentLoss>(config);
  term.uses_logit_scale = !config.has_temperature();
  return term;
}

}  // namespace muster
