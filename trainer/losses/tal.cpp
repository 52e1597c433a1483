// Triplet alignment loss (Qin et al., RDE, CVPR 2024; compute_TAL_per of github.com/QinYang79/RDE,
// model/objectives.py):
//
//   h_i = max(0, margin - sum_{j positive} a_ij s_ij + tau log sum_{j negative} exp(s_ij / tau))
//   a_i = softmax of s_i / tau over the positives of i, which counts as a constant
// and for columns alike; each times its anchor's weight, sum (or sum / sum of weights) of both directions. Positives
// are identities. An anchor without negatives has no loss. With b the softmax of s / tau over the negatives, an active
// anchor's gradient is b on negatives and -a on positives. Published code forms exp(s / tau) and clamps it; here the
// maximum of each softmax is taken out first.
//
// With negatives HARDEST it is that code's compute_TRL_per: max over the negatives in place of the logarithm. That is
// the same softmax at a temperature so low that only the largest cosine is left in it; equally hard negatives share the
// gradient. Published code takes 0 for an anchor whose negatives all have cosines below 0, which is not done here.
#include <cmath>

#include "trainer/losses/hinge.h"
#include "trainer/losses/loss_term.h"
#include "trainer/losses/losses.pb.h"
#include "trainer/losses/softmax_statistics.h"
#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

// 1 / temperature of the maximum: no difference of two cosines is too small for it, none of two floats too large.
constexpr double kHardest = 1e30;

// One anchor's two softmaxes: exp(scale * (s - max)) * factor.
template <typename T>
struct Anchor {
  T positive_scale;
  T negative_scale;
  int32_t code;
  T positive_max;
  T negative_max;
  T positive_factor;
  T negative_factor;
};

// Of the block's columns.
template <typename T>
struct Columns {
  const int32_t* codes;
  const T* positive_max;
  const T* negative_max;
  const T* positive_factor;
  const T* negative_factor;
};

template <typename T>
struct FoldedRow {
  T positive_sum;
  T positive_moment;
  T negative_sum;
};

template <typename T>
MUSTER_INLINE FoldedRow<T> fold_row_of(const T* __restrict s, int64_t n, const Anchor<T>& row,
                                       const int32_t* __restrict codes, const ColumnPartials<T>& positives,
                                       const ColumnPartials<T>& negatives) {
  const Anchor<T> r = row;
  const T* __restrict positive_max = positives.max;
  T* __restrict positive_sum = positives.sum;
  T* __restrict positive_moment = positives.moment;
  const T* __restrict negative_max = negatives.max;
  T* __restrict negative_sum = negatives.sum;
  T row_positive = 0;
  T row_moment = 0;
  T row_negative = 0;
#pragma omp simd reduction(+ : row_positive, row_moment, row_negative)
  for (int64_t j = 0; j < n; ++j) {
    const bool positive = codes[j] == r.code;
    const T scale = positive ? r.positive_scale : r.negative_scale;
    const T u = scale * (s[j] - (positive ? r.positive_max : r.negative_max));
    const T e = fast_exp(u);
    row_positive += positive ? e : T{0};
    row_moment += positive ? e * u : T{0};
    row_negative += positive ? T{0} : e;
    const T column_u = scale * (s[j] - (positive ? positive_max[j] : negative_max[j]));
    const T column_e = fast_exp(column_u);
    positive_sum[j] += positive ? column_e : T{0};
    positive_moment[j] += positive ? column_e * column_u : T{0};
    negative_sum[j] += positive ? T{0} : column_e;
  }
  return {row_positive, row_moment, row_negative};
}

MUSTER_VECTOR_CLONES FoldedRow<float> fold_row(const float* s, int64_t n, const Anchor<float>& row,
                                               const int32_t* codes, const ColumnPartials<float>& positives,
                                               const ColumnPartials<float>& negatives) {
  return fold_row_of(s, n, row, codes, positives, negatives);
}
MUSTER_VECTOR_CLONES FoldedRow<double> fold_row(const double* s, int64_t n, const Anchor<double>& row,
                                                const int32_t* codes, const ColumnPartials<double>& positives,
                                                const ColumnPartials<double>& negatives) {
  return fold_row_of(s, n, row, codes, positives, negatives);
}

template <typename T>
MUSTER_INLINE void weigh_row_of(const T* __restrict s, int64_t n, const Anchor<T>& row, const Columns<T>& columns,
                                T* __restrict weights) {
  const Anchor<T> r = row;
  const int32_t* __restrict codes = columns.codes;
  const T* __restrict positive_max = columns.positive_max;
  const T* __restrict negative_max = columns.negative_max;
  const T* __restrict positive_factor = columns.positive_factor;
  const T* __restrict negative_factor = columns.negative_factor;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const bool positive = codes[j] == r.code;
    const T scale = positive ? r.positive_scale : r.negative_scale;
    const T u = scale * (s[j] - (positive ? r.positive_max : r.negative_max));
    const T column_u = scale * (s[j] - (positive ? positive_max[j] : negative_max[j]));
    weights[j] += (positive ? r.positive_factor : r.negative_factor) * fast_exp(u) +
                  (positive ? positive_factor[j] : negative_factor[j]) * fast_exp(column_u);
  }
}

MUSTER_VECTOR_CLONES void weigh_row(const float* s, int64_t n, const Anchor<float>& row, const Columns<float>& columns,
                                    float* weights) {
  weigh_row_of(s, n, row, columns, weights);
}
MUSTER_VECTOR_CLONES void weigh_row(const double* s, int64_t n, const Anchor<double>& row,
                                    const Columns<double>& columns, double* weights) {
  weigh_row_of(s, n, row, columns, weights);
}

// The complete statistics of one anchor.
struct Softmaxes {
  double positive_max;
  double positive_sum;
  double positive_moment;
  double negative_max;
  double negative_sum;
};

template <typename T>
class TalLoss : public PairLoss<T> {
 public:
  TalLoss(const Tal& config, const LogitParameters&)
      : margin_(config.margin()),
        scale_(static_cast<double>(static_cast<T>(1 / config.temperature()))),
        negative_scale_(config.negatives() == Tal::HARDEST ? static_cast<double>(static_cast<T>(kHardest)) : scale_),
        mean_(config.reduction() == MEAN) {}

  PairNeeds needs() const override { return {2, 3}; }

  void begin(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape) override {
    batch_ = &batch;
    positives_ = std::make_unique<SoftmaxStatistics<T>>(
        batch, SoftmaxColumns{columns.maxima.at(0), columns.sums.at(0), columns.sums.at(1)}, shape,
        same_scale(batch, scale_), Members::kPositives, &batch.identities);
    negatives_ = std::make_unique<SoftmaxStatistics<T>>(
        batch, SoftmaxColumns{columns.maxima.at(1), columns.sums.at(2), nullptr}, shape,
        same_scale(batch, negative_scale_), Members::kNegatives, &batch.identities);
  }

  void fold(const Block<T>& block) override {
    const ColumnPartials<T> positives = positives_->begin_block(block);
    const ColumnPartials<T> negatives = negatives_->begin_block(block);
    const int32_t* codes = batch_->identities.code.data() + block.first_column;
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const Anchor<T> anchor{static_cast<T>(scale_),
                             static_cast<T>(negative_scale_),
                             code_of(row),
                             positives_->row_max(row),
                             negatives_->row_max(row),
                             T{1},
                             T{1}};
      const FoldedRow<T> folded = fold_row(block.row(r), block.columns, anchor, codes, positives, negatives);
      positives_->add_row(row, folded.positive_sum, folded.positive_moment);
      negatives_->add_row(row, folded.negative_sum, T{0});
    }
  }

  void merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) override {
    positives_->merge(tile_column, first, count, blocks);
    negatives_->merge(tile_column, first, count, blocks);
  }

  void rebase(const std::vector<const double*>& local) override {
    positives_->rebase_columns(local.at(0));
    negatives_->rebase_columns(local.at(1));
  }

  double finish(double weight) override {
    const double anchors = mean_ ? batch_->weight_sum : 1.0;
    double value = 0;
    for (int64_t row = 0; row < batch_->rows; ++row) {
      const int64_t own = batch_->offset + row;
      const double h = hinge_of(of_row(row));
      const double anchor = batch_->weight[static_cast<size_t>(own)];
      sample_losses_.push_back(h + hinge_of(of_column(own)));
      value += anchor * sample_losses_.back();
      rows_.push_back(make_anchor(code_of(row), of_row(row), h > 0 ? weight * anchor / anchors : 0));
    }
    for (int64_t column = 0; column < batch_->columns; ++column) {
      const size_t j = static_cast<size_t>(column);
      const double factor = hinge_of(of_column(column)) > 0 ? weight * batch_->weight[j] / anchors : 0;
      const Anchor<T> anchor = make_anchor(batch_->identities.code[j], of_column(column), factor);
      positive_max_.push_back(anchor.positive_max);
      negative_max_.push_back(anchor.negative_max);
      positive_factor_.push_back(anchor.positive_factor);
      negative_factor_.push_back(anchor.negative_factor);
    }
    return value / anchors;
  }

  std::vector<double> sample_losses() const override { return sample_losses_; }

  void weigh(const Block<T>& block, T* weights) override {
    const int64_t first = block.first_column;
    const Columns<T> columns{batch_->identities.code.data() + first, positive_max_.data() + first,
                             negative_max_.data() + first, positive_factor_.data() + first,
                             negative_factor_.data() + first};
    for (int64_t r = 0; r < block.rows; ++r) {
      weigh_row(block.row(r), block.columns, rows_[static_cast<size_t>(block.first_row + r)], columns,
                weights + r * block.columns);
    }
  }

  std::vector<FoldPart<T>> fold_program() override {
    return {positives_->fold_part(batch_->identities), negatives_->fold_part(batch_->identities)};
  }

  std::vector<WeighPart<T>> weigh_program() override {
    for (std::vector<T>& array : row_arrays_) array.clear();
    for (const Anchor<T>& row : rows_) {
      row_arrays_[0].push_back(row.positive_max);
      row_arrays_[1].push_back(row.positive_factor);
      row_arrays_[2].push_back(row.negative_max);
      row_arrays_[3].push_back(row.negative_factor);
    }
    WeighPart<T> positives;
    positives.kind = WeighKind::kSoftmax;
    take_codes(positives, batch_->identities, batch_->offset);
    positives.constant[1] = static_cast<T>(scale_);
    WeighPart<T> negatives = positives;
    negatives.constant[1] = static_cast<T>(negative_scale_);
    positives.members = Members::kPositives;
    positives.row[0] = row_arrays_[0].data();
    positives.row[1] = row_arrays_[1].data();
    positives.column[0] = positive_max_.data();
    positives.column[1] = positive_factor_.data();
    negatives.members = Members::kNegatives;
    negatives.row[0] = row_arrays_[2].data();
    negatives.row[1] = row_arrays_[3].data();
    negatives.column[0] = negative_max_.data();
    negatives.column[1] = negative_factor_.data();
    return {positives, negatives};
  }

 private:
  int32_t code_of(int64_t row) const { return batch_->identities.code[static_cast<size_t>(batch_->offset + row)]; }

  Softmaxes of_row(int64_t row) const {
    return {static_cast<double>(positives_->row_max(row)), positives_->row_sum(row), positives_->row_moment(row),
            static_cast<double>(negatives_->row_max(row)), negatives_->row_sum(row)};
  }
  Softmaxes of_column(int64_t column) const {
    return {positives_->column_max(column), positives_->column_sum(column), positives_->column_moment(column),
            negatives_->column_max(column), negatives_->column_sum(column)};
  }

  double hinge_of(const Softmaxes& s) const {
    const double positive = s.positive_max + s.positive_moment / s.positive_sum / scale_;
    const bool has_negatives = s.negative_max != kNoCosine;
    return hinge(margin_, positive,
                 has_negatives ? s.negative_max + std::log(s.negative_sum) / negative_scale_ : kNoCosine);
  }

  Anchor<T> make_anchor(int32_t code, const Softmaxes& s, double factor) const {
    return {static_cast<T>(scale_),
            static_cast<T>(negative_scale_),
            code,
            static_cast<T>(s.positive_max),
            static_cast<T>(s.negative_max),
            static_cast<T>(factor == 0 ? 0 : -factor / s.positive_sum),
            static_cast<T>(factor == 0 ? 0 : factor / s.negative_sum)};
  }

  double margin_;
  double scale_;           // of positives
  double negative_scale_;  // of negatives
  bool mean_;
  const PairBatch* batch_ = nullptr;
  std::unique_ptr<SoftmaxStatistics<T>> positives_;
  std::unique_ptr<SoftmaxStatistics<T>> negatives_;
  std::vector<double> sample_losses_;
  std::vector<Anchor<T>> rows_;
  std::vector<T> positive_max_;  // these [columns]
  std::vector<T> negative_max_;
  std::vector<T> positive_factor_;
  std::vector<T> negative_factor_;
  std::vector<T> row_arrays_[4];  // for a device: the same of rows
};

}  // namespace

LossTerm describe(const Tal& config, const std::string& path, Checks& checks) {
  checks.at_least(0.0, path + ".margin", config.margin());
  checks.positive(path + ".temperature", config.temperature());
  LossTerm term = make_loss_term<TalLoss>(config);
  if (config.negatives() == Tal::HARDEST) term.collapsed = 2 * config.margin();
  term.collapsed_sums = config.reduction() == SUM;
  return term;
}

}  // namespace muster
