// InfoNCE (Radford et al., CLIP, 2021), with one or several positives per anchor.
//
// For a row i:     l_i = LSE_j(x_ij) - (1 / n_i) sum_{j positive} x_ij,   x = scale * s,   n_i its number of positives
// and for a column j alike. The loss is the mean over anchors, of weights w, and the mean of the two directions:
//                  L = (sum_i w_i l_i + sum_j w_j l_j) / (2 sum w)
// Equal codes share n, so rows alone suffice for both directions' sums over positives. With the row probabilities p and
// the column probabilities q of a pair:
//                  dL/dx = (w_i (p - y / n) + w_j (q - y / n)) / (2 sum w)
//
// With a self-target (N-ITC of TBPS-CLIP, Cao et al., AAAI 2024; github.com/Flame-Chasers/TBPS-CLIP,
// model/tbps_model.py) the targets are a p* + (1 - a) y / n, p* the anchor's softmax by a teacher, as a constant. The
// published teacher is the same network at the same weights, run once more without gradient: but for the dropout that
// it draws anew, p* = p. So no second forward is made, and with H the entropy of p:
//                  l_i = (1 - a) (LSE - mean of positives) + a H(p_i),   dL/dx = (1 - a) times the above
// With Z = sum exp(u), M = sum exp(u) u, u = x - max: H = log Z - M / Z.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "trainer/losses/loss_term.h"
#include "trainer/losses/losses.pb.h"
#include "trainer/losses/softmax_statistics.h"
#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

template <typename T>
struct FoldedRow {
  T sum;
  T moment;
  T positive;  // sum of positive cosines, each times the sum of both anchors' weights
};

template <typename T>
struct FoldRow {
  T scale;
  T max;
  T weight;
  int32_t code;
};

// Of the block's columns.
template <typename T>
struct FoldColumns {
  const T* weight;
  const int32_t* codes;
};

template <bool kMoments, typename T>
MUSTER_INLINE FoldedRow<T> fold_row_of(const T* __restrict s, int64_t n, const FoldRow<T>& row,
                                       const FoldColumns<T>& columns, const ColumnPartials<T>& partials) {
  const FoldRow<T> r = row;
  const T* __restrict column_weight = columns.weight;
  const int32_t* __restrict codes = columns.codes;
  const T* __restrict column_max = partials.max;
  T* __restrict column_sum = partials.sum;
  T* __restrict column_moment = partials.moment;
  T sum = 0;
  T moment = 0;
  T positive = 0;
#pragma omp simd reduction(+ : sum, moment, positive)
  for (int64_t j = 0; j < n; ++j) {
    const T u = r.scale * (s[j] - r.max);
    const T column_u = r.scale * (s[j] - column_max[j]);
    const T e = fast_exp(u);
    const T column_e = fast_exp(column_u);
    sum += e;
    column_sum[j] += column_e;
    if constexpr (kMoments) {
      moment += e * u;
      column_moment[j] += column_e * column_u;
    }
    positive += codes[j] == r.code ? s[j] * (r.weight + column_weight[j]) : T{0};
  }
  return {sum, moment, positive};
}

MUSTER_VECTOR_CLONES FoldedRow<float> fold_row(const float* s, int64_t n, const FoldRow<float>& row,
                                               const FoldColumns<float>& columns,
                                               const ColumnPartials<float>& partials) {
  return fold_row_of<false>(s, n, row, columns, partials);
}
MUSTER_VECTOR_CLONES FoldedRow<double> fold_row(const double* s, int64_t n, const FoldRow<double>& row,
                                                const FoldColumns<double>& columns,
                                                const ColumnPartials<double>& partials) {
  return fold_row_of<false>(s, n, row, columns, partials);
}
MUSTER_VECTOR_CLONES FoldedRow<float> fold_row_with_moments(const float* s, int64_t n, const FoldRow<float>& row,
                                                            const FoldColumns<float>& columns,
                                                            const ColumnPartials<float>& partials) {
  return fold_row_of<true>(s, n, row, columns, partials);
}
MUSTER_VECTOR_CLONES FoldedRow<double> fold_row_with_moments(const double* s, int64_t n, const FoldRow<double>& row,
                                                             const FoldColumns<double>& columns,
                                                             const ColumnPartials<double>& partials) {
  return fold_row_of<true>(s, n, row, columns, partials);
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
  const T* target;
  const int32_t* codes;
};

// Returns the sum over both softmaxes of weight * u, u = x - max of its direction. Counting from the maximum keeps the
// rounding small where all cosines are near 1.
template <typename T>
MUSTER_INLINE T weigh_row_of(const T* __restrict s, int64_t n, const RowFactors<T>& row,
                             const ColumnFactors<T>& columns, T* __restrict weights) {
  const T* __restrict column_max = columns.max;
  const T* __restrict column_factor = columns.factor;
  const T* __restrict column_target = columns.target;
  const int32_t* __restrict codes = columns.codes;
  const RowFactors<T> r = row;
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < n; ++j) {
    const T u = r.scale * (s[j] - r.max);
    const T column_u = r.scale * (s[j] - column_max[j]);
    const T row_weight = r.factor * fast_exp(u);
    const T column_weight = column_factor[j] * fast_exp(column_u);
    weights[j] += row_weight + column_weight - (codes[j] == r.code ? r.target + column_target[j] : T{0});
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
  InfoNceLoss(const InfoNce& config, const LogitParameters& logits, double epoch)
      : positives_(config.positives()),
        scale_(static_cast<double>(static_cast<T>(config.has_temperature() ? 1 / config.temperature() : logits.scale))),
        has_self_target_(config.self_target() > 0),
        self_target_(config.self_target() * ramp(epoch, config.self_target_ramp_epochs())) {}

  PairNeeds needs() const override { return {1, has_self_target_ ? 2 : 1}; }

  void begin(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape) override {
    batch_ = &batch;
    groups_ = positives_ == PAIR ? &batch.pairs : &batch.identities;
    softmax_ = std::make_unique<SoftmaxStatistics<T>>(
        batch,
        SoftmaxColumns{columns.maxima.at(0), columns.sums.at(0), has_self_target_ ? columns.sums.at(1) : nullptr},
        shape, same_scale(batch, scale_));
    positive_.assign(static_cast<size_t>(batch.rows), 0.0);
    softmax_gradient_.assign(static_cast<size_t>(batch.rows), 0.0);
    for (const double weight : batch.weight) weight_.push_back(static_cast<T>(weight));
  }

  void fold(const Block<T>& block) override {
    const ColumnPartials<T> partials = softmax_->begin_block(block);
    const FoldColumns<T> columns{weight_.data() + block.first_column, groups_->code.data() + block.first_column};
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const FoldRow<T> anchor{static_cast<T>(scale_), softmax_->row_max(row), weight_[own(row)],
                              groups_->code[own(row)]};
      const FoldedRow<T> folded = has_self_target_
                                      ? fold_row_with_moments(block.row(r), block.columns, anchor, columns, partials)
                                      : fold_row(block.row(r), block.columns, anchor, columns, partials);
      softmax_->add_row(row, folded.sum, folded.moment);
      positive_[static_cast<size_t>(row)] += static_cast<double>(folded.positive);
    }
  }

  void merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) override {
    softmax_->merge(tile_column, first, count, blocks);
  }

  void rebase(const std::vector<const double*>& local) override { softmax_->rebase_columns(local.at(0)); }

  double finish(double weight) override {
    const double anchors = 2.0 * batch_->weight_sum;
    const double given = 1 - self_target_;  // the share of the given targets
    const double factor = given * weight * scale_ / anchors;
    double value = 0;
    for (int64_t row = 0; row < batch_->rows; ++row) {
      const int64_t column = batch_->offset + row;
      const double anchor = batch_->weight[own(row)];
      // Logits are counted from the two maxima.
      const double target =
          scale_ * (positive_[static_cast<size_t>(row)] / groups_->count[own(row)] -
                    anchor * (static_cast<double>(softmax_->row_max(row)) + softmax_->column_max(column)));
      value += given * (anchor * (std::log(softmax_->row_sum(row)) + std::log(softmax_->column_sum(column))) - target);
      if (has_self_target_) value += self_target_ * anchor * entropies(row, column);
      target_gradient_ += factor * target;
      row_factor_.push_back(static_cast<T>(factor * anchor / softmax_->row_sum(row)));
    }
    for (int64_t column = 0; column < batch_->columns; ++column) {
      const size_t j = static_cast<size_t>(column);
      column_max_.push_back(static_cast<T>(softmax_->column_max(column)));
      column_factor_.push_back(static_cast<T>(factor * batch_->weight[j] / softmax_->column_sum(column)));
      target_.push_back(static_cast<T>(factor * batch_->weight[j] / groups_->count[j]));
    }
    return value / anchors;
  }

  void weigh(const Block<T>& block, T* weights) override {
    const ColumnFactors<T> columns{column_max_.data() + block.first_column, column_factor_.data() + block.first_column,
                                   target_.data() + block.first_column, groups_->code.data() + block.first_column};
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const size_t i = static_cast<size_t>(row);
      const RowFactors<T> factors{static_cast<T>(scale_), softmax_->row_max(row), row_factor_[i], target_[own(row)],
                                  groups_->code[own(row)]};
      const T total = weigh_row(block.row(r), block.columns, factors, columns, weights + r * block.columns);
      softmax_gradient_[i] += static_cast<double>(total);
    }
  }

  std::vector<FoldPart<T>> fold_program() override {
    FoldPart<T> positives;
    positives.kind = FoldKind::kPositiveSum;
    take_codes(positives, *groups_, batch_->offset);
    positives.row[0] = weight_.data() + batch_->offset;
    positives.column[0] = weight_.data();
    positives.row_result[0] = positive_.data();
    return {softmax_->fold_part(*groups_), positives};
  }

  std::vector<WeighPart<T>> weigh_program() override {
    row_max_.clear();
    for (int64_t row = 0; row < batch_->rows; ++row) row_max_.push_back(softmax_->row_max(row));
    WeighPart<T> softmax;
    softmax.kind = WeighKind::kSoftmax;
    take_codes(softmax, *groups_, batch_->offset);
    WeighPart<T> target = softmax;
    softmax.row[0] = row_max_.data();
    softmax.row[1] = row_factor_.data();
    softmax.column[0] = column_max_.data();
    softmax.column[1] = column_factor_.data();
    softmax.constant[1] = static_cast<T>(scale_);
    softmax.row_total[0] = softmax_gradient_.data();
    target.kind = WeighKind::kTarget;
    target.row[1] = target_.data() + batch_->offset;
    target.column[1] = target_.data();
    return {softmax, target};
  }

  // d L / d log(scale) = sum of dL/dx * x. The softmaxes' part comes from the weights dL/ds = scale * dL/dx; the
  // targets' part, x counted from the same maxima, is known in double from finish().
  double scale_gradient() const override {
    return std::accumulate(softmax_gradient_.begin(), softmax_gradient_.end(), -target_gradient_) / scale_;
  }

 private:
  static double ramp(double epoch, double epochs) { return epochs > 0 ? std::min(1.0, epoch / epochs) : 1.0; }

  // Of the row's softmax and of the column's.
  double entropies(int64_t row, int64_t column) const {
    return std::log(softmax_->row_sum(row)) - softmax_->row_moment(row) / softmax_->row_sum(row) +
           std::log(softmax_->column_sum(column)) - softmax_->column_moment(column) / softmax_->column_sum(column);
  }

  size_t own(int64_t row) const { return static_cast<size_t>(batch_->offset + row); }

  Positives positives_;
  double scale_;
  bool has_self_target_;
  double self_target_;  // as the ramp has it
  const PairBatch* batch_ = nullptr;
  const Groups* groups_ = nullptr;
  std::unique_ptr<SoftmaxStatistics<T>> softmax_;
  std::vector<T> weight_;
  std::vector<double> positive_;
  std::vector<double> softmax_gradient_;
  double target_gradient_ = 0;
  std::vector<T> row_max_;  // for a device
  std::vector<T> row_factor_;
  std::vector<T> column_max_;
  std::vector<T> column_factor_;
  std::vector<T> target_;  // [columns] what a positive pair loses in the direction of this anchor
};

}  // namespace

LossTerm describe(const InfoNce& config, const std::string& path, Checks& checks) {
  if (config.has_temperature()) checks.positive(path + ".temperature", config.temperature());
  checks.require(config.self_target() >= 0 && config.self_target() < 1, path + ".self_target", config.self_target(),
                 "0 or more, below 1");
  checks.at_least(0.0, path + ".self_target_ramp_epochs", config.self_target_ramp_epochs());
  LossTerm term = make_loss_term<InfoNceLoss>(config);
  term.uses_logit_scale = !config.has_temperature();
  return term;
}

}  // namespace muster
