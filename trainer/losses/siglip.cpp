// Sigmoid loss (Zhai et al., SigLIP, ICCV 2023), with one or several positives per anchor.
//
//                  l_ij = softplus(-z_ij x_ij),   x = scale * s + bias,   z = 1 for positives, -1 for others
// A pair is half its row's loss and half its column's, so with the anchors' weights w
//                  L = sum_ij (w_i + w_j) / 2 * l_ij / sum w
// which without weights is the sum over pairs / B.
//                  dL/dx = -z sigmoid(-z x) (w_i + w_j) / (2 sum w)
#include <numeric>

#include "trainer/losses/loss_term.h"
#include "trainer/losses/losses.pb.h"
#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

template <typename T>
struct Logits {
  T scale;
  T bias;
};

// What one anchor's half of a pair is multiplied by.
template <typename T>
struct Row {
  T factor;
  int32_t code;
};

template <typename T>
struct Columns {
  const T* factor;
  const int32_t* codes;
};

template <typename T>
MUSTER_INLINE T fold_row_of(const T* __restrict s, int64_t n, const Logits<T>& logits, const Row<T>& row,
                            const Columns<T>& columns) {
  const Logits<T> l = logits;
  const Row<T> r = row;
  const T* __restrict factor = columns.factor;
  const int32_t* __restrict codes = columns.codes;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) {
    const T x = l.scale * s[j] + l.bias;
    const T y = codes[j] == r.code ? -x : x;
    const T e = fast_exp(y < 0 ? y : -y);
    sum += (r.factor + factor[j]) * ((y < 0 ? T{0} : y) + fast_log1p(e));
  }
  return sum;
}

MUSTER_VECTOR_CLONES float fold_row(const float* s, int64_t n, const Logits<float>& logits, const Row<float>& row,
                                    const Columns<float>& columns) {
  return fold_row_of(s, n, logits, row, columns);
}
MUSTER_VECTOR_CLONES double fold_row(const double* s, int64_t n, const Logits<double>& logits, const Row<double>& row,
                                     const Columns<double>& columns) {
  return fold_row_of(s, n, logits, row, columns);
}

// Sums over a row of dL/dx * s and of dL/dx.
template <typename T>
struct Weighed {
  T cosine;
  T bias;
};

template <typename T>
MUSTER_INLINE Weighed<T> weigh_row_of(const T* __restrict s, int64_t n, const Logits<T>& logits, const Row<T>& row,
                                      const Columns<T>& columns, T* __restrict weights) {
  const Logits<T> l = logits;
  const Row<T> r = row;
  const T* __restrict factor = columns.factor;
  const int32_t* __restrict codes = columns.codes;
  T cosine = 0;
  T bias = 0;
#pragma omp simd reduction(+ : cosine, bias)
  for (int64_t j = 0; j < n; ++j) {
    const bool positive = codes[j] == r.code;
    const T x = l.scale * s[j] + l.bias;
    const T y = positive ? -x : x;
    const T e = fast_exp(y < 0 ? y : -y);
    const T sigmoid = (y < 0 ? e : T{1}) / (1 + e);
    const T gradient = (r.factor + factor[j]) * (positive ? -sigmoid : sigmoid);
    weights[j] += l.scale * gradient;
    cosine += gradient * s[j];
    bias += gradient;
  }
  return {cosine, bias};
}

MUSTER_VECTOR_CLONES Weighed<float> weigh_row(const float* s, int64_t n, const Logits<float>& logits,
                                              const Row<float>& row, const Columns<float>& columns, float* weights) {
  return weigh_row_of(s, n, logits, row, columns, weights);
}
MUSTER_VECTOR_CLONES Weighed<double> weigh_row(const double* s, int64_t n, const Logits<double>& logits,
                                               const Row<double>& row, const Columns<double>& columns,
                                               double* weights) {
  return weigh_row_of(s, n, logits, row, columns, weights);
}

template <typename T>
class SiglipLoss : public PairLoss<T> {
 public:
  SiglipLoss(const Siglip& config, const LogitParameters& logits)
      : positives_(config.positives()),
        logits_{static_cast<T>(config.has_temperature() ? 1 / config.temperature() : logits.scale),
                static_cast<T>(logits.bias)} {}

  PairNeeds needs() const override { return {}; }

  void begin(const PairBatch& batch, const ColumnStatistics&, const TileShape&) override {
    batch_ = &batch;
    groups_ = positives_ == PAIR ? &batch.pairs : &batch.identities;
    value_.assign(static_cast<size_t>(batch.rows), 0.0);
    cosine_.assign(static_cast<size_t>(batch.rows), 0.0);
    bias_.assign(static_cast<size_t>(batch.rows), 0.0);
    set_factors(0.5 / batch.weight_sum);
  }

  void fold(const Block<T>& block) override {
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      value_[static_cast<size_t>(row)] +=
          static_cast<double>(fold_row(block.row(r), block.columns, logits_, anchor(row), columns(block.first_column)));
    }
  }

  double finish(double weight) override {
    set_factors(0.5 * weight / batch_->weight_sum);
    return std::accumulate(value_.begin(), value_.end(), 0.0);
  }

  void weigh(const Block<T>& block, T* weights) override {
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const Weighed<T> sums = weigh_row(block.row(r), block.columns, logits_, anchor(row), columns(block.first_column),
                                        weights + r * block.columns);
      cosine_[static_cast<size_t>(row)] += static_cast<double>(sums.cosine);
      bias_[static_cast<size_t>(row)] += static_cast<double>(sums.bias);
    }
  }

  std::vector<FoldPart<T>> fold_program() override {
    FoldPart<T> part;
    part.kind = FoldKind::kSoftplus;
    take_codes(part, *groups_, batch_->offset);
    part.row[0] = factor_.data() + batch_->offset;
    part.column[0] = factor_.data();
    part.constant[0] = logits_.scale;
    part.constant[1] = logits_.bias;
    part.row_result[0] = value_.data();
    return {part};
  }

  std::vector<WeighPart<T>> weigh_program() override {
    WeighPart<T> part;
    part.kind = WeighKind::kSigmoid;
    take_codes(part, *groups_, batch_->offset);
    part.row[1] = factor_.data() + batch_->offset;
    part.column[1] = factor_.data();
    part.constant[0] = logits_.scale;
    part.constant[1] = logits_.bias;
    part.row_total[0] = cosine_.data();
    part.row_total[1] = bias_.data();
    return {part};
  }

  double scale_gradient() const override {
    return static_cast<double>(logits_.scale) * std::accumulate(cosine_.begin(), cosine_.end(), 0.0);
  }
  double bias_gradient() const override { return std::accumulate(bias_.begin(), bias_.end(), 0.0); }

 private:
  void set_factors(double factor) {
    factor_.clear();
    for (const double weight : batch_->weight) factor_.push_back(static_cast<T>(factor * weight));
  }
  Row<T> anchor(int64_t row) const {
    const size_t own = static_cast<size_t>(batch_->offset + row);
    return {factor_[own], groups_->code[own]};
  }
  Columns<T> columns(int64_t first) const { return {factor_.data() + first, groups_->code.data() + first}; }

  Positives positives_;
  Logits<T> logits_;
  const PairBatch* batch_ = nullptr;
  const Groups* groups_ = nullptr;
  std::vector<T> factor_;  // [columns]
  std::vector<double> value_;
  std::vector<double> cosine_;
  std::vector<double> bias_;
};

}  // namespace

LossTerm describe(const Siglip& config, const std::string& path, Checks& checks) {
  if (config.has_temperature()) checks.positive(path + ".temperature", config.temperature());
  LossTerm term = make_loss_term<SiglipLoss>(config);
  term.uses_logit_scale = !config.has_temperature();
  term.uses_logit_bias = true;
  return term;
}

}  // namespace muster
