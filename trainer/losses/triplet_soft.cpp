// Triplet loss with soft hardest negatives of the global batch, on cosines:
//                  h_i = max(0, margin - s_ii + tau log((1 / k) sum_{j negative} exp(s_ij / tau)))
// and for columns alike; each times its anchor's weight, sum (or sum / sum of weights) of both directions. The mean of
// exponents over k negatives stands where triplet.cpp has the maximum: k equally hard ones, all others far below, count
// as one of them, so one duplicate of a caption in a large batch does not decide an anchor's gradient alone. tau -> 0
// is the hardest negative; k is at most the anchor's number of negatives. With b the softmax of s / tau over the
// negatives, an active anchor's gradient is b on negatives and -1 on its own pair. Without the k and with softmax
// positives this is tal.cpp's. An anchor without negatives has no loss; at a hinge of exactly zero the gradient is
// zero.
#include <algorithm>
#include <cmath>
#include <memory>

#include "trainer/losses/hinge.h"
#include "trainer/losses/losses.pb.h"
#include "trainer/losses/softmax_statistics.h"
#include "trainer/losses/triplet.h"
#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

// One anchor's softmax over its negatives: exp(scale * (s - max)) * factor.
template <typename T>
struct Anchor {
  T scale;
  int32_t code;
  T max;
  T factor;
};

// Of the block's columns.
template <typename T>
struct Columns {
  const int32_t* codes;
  const T* max;
  const T* factor;
};

template <typename T>
MUSTER_INLINE T fold_row_of(const T* __restrict s, int64_t n, const Anchor<T>& row, const int32_t* __restrict codes,
                            const ColumnPartials<T>& columns) {
  const Anchor<T> r = row;
  const T* __restrict column_max = columns.max;
  T* __restrict column_sum = columns.sum;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) {
    const bool negative = codes[j] != r.code;
    sum += negative ? fast_exp(r.scale * (s[j] - r.max)) : T{0};
    column_sum[j] += negative ? fast_exp(r.scale * (s[j] - column_max[j])) : T{0};
  }
  return sum;
}

MUSTER_VECTOR_CLONES float fold_row(const float* s, int64_t n, const Anchor<float>& row, const int32_t* codes,
                                    const ColumnPartials<float>& columns) {
  return fold_row_of(s, n, row, codes, columns);
}
MUSTER_VECTOR_CLONES double fold_row(const double* s, int64_t n, const Anchor<double>& row, const int32_t* codes,
                                     const ColumnPartials<double>& columns) {
  return fold_row_of(s, n, row, codes, columns);
}

template <typename T>
MUSTER_INLINE void weigh_row_of(const T* __restrict s, int64_t n, const Anchor<T>& row, const Columns<T>& columns,
                                T* __restrict weights) {
  const Anchor<T> r = row;
  const int32_t* __restrict codes = columns.codes;
  const T* __restrict column_max = columns.max;
  const T* __restrict column_factor = columns.factor;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const T both =
        r.factor * fast_exp(r.scale * (s[j] - r.max)) + column_factor[j] * fast_exp(r.scale * (s[j] - column_max[j]));
    weights[j] += codes[j] != r.code ? both : T{0};
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

template <typename T>
class SoftTripletLoss : public PairLoss<T> {
 public:
  SoftTripletLoss(const Triplet& config, const LogitParameters&)
      : margin_(config.margin()),
        exclude_(config.exclude()),
        mean_(config.reduction() == MEAN),
        scale_(static_cast<double>(static_cast<T>(1 / config.temperature()))),
        top_k_(config.top_k()) {}

  PairNeeds needs() const override {
    PairNeeds needs;
    needs.maxima = 1;
    needs.sums = 1;
    needs.pair_cosine = true;
    return needs;
  }

  void begin(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape) override {
    batch_ = &batch;
    groups_ = exclude_ == PAIR ? &batch.pairs : &batch.identities;
    negatives_ =
        std::make_unique<SoftmaxStatistics<T>>(batch, SoftmaxColumns{columns.maxima.at(0), columns.sums.at(0), nullptr},
                                               shape, same_scale(batch, scale_), Members::kNegatives, groups_);
  }

  void fold(const Block<T>& block) override {
    const ColumnPartials<T> columns = negatives_->begin_block(block);
    const int32_t* codes = groups_->code.data() + block.first_column;
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const Anchor<T> anchor{static_cast<T>(scale_), code_of(row), negatives_->row_max(row), T{1}};
      negatives_->add_row(row, fold_row(block.row(r), block.columns, anchor, codes, columns), T{0});
    }
  }

  void merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) override {
    negatives_->merge(tile_column, first, count, blocks);
  }

  void rebase(const std::vector<const double*>& local) override { negatives_->rebase_columns(local.at(0)); }

  double finish(double weight) override {
    const double anchors = mean_ ? batch_->weight_sum : 1.0;
    double value = 0;
    for (int64_t row = 0; row < batch_->rows; ++row) {
      const size_t own = static_cast<size_t>(batch_->offset + row);
      const double max = static_cast<double>(negatives_->row_max(row)), sum = negatives_->row_sum(row);
      const double h = hinge_of(own, max, sum);
      value += batch_->weight[own] * (h + column_hinge(own));
      const double factor = h > 0 ? weight * batch_->weight[own] / anchors / sum : 0;
      rows_.push_back({static_cast<T>(scale_), code_of(row), static_cast<T>(max), static_cast<T>(factor)});
      row_pull_.push_back(h > 0 ? static_cast<T>(weight * batch_->weight[own] / anchors) : T{0});
    }
    for (size_t j = 0; j < static_cast<size_t>(batch_->columns); ++j) {
      const double pull = column_hinge(j) > 0 ? weight * batch_->weight[j] / anchors : 0;
      const auto column = static_cast<int64_t>(j);
      column_max_.push_back(static_cast<T>(negatives_->column_max(column)));
      column_factor_.push_back(static_cast<T>(pull > 0 ? pull / negatives_->column_sum(column) : 0));
      column_pull_.push_back(static_cast<T>(pull));
    }
    return value / anchors;
  }

  void weigh(const Block<T>& block, T* weights) override {
    const int64_t first = block.first_column;
    const Columns<T> columns{groups_->code.data() + first, column_max_.data() + first, column_factor_.data() + first};
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      T* row_weights = weights + r * block.columns;
      weigh_row(block.row(r), block.columns, rows_[static_cast<size_t>(row)], columns, row_weights);
      const int64_t own = batch_->offset + row;
      if (own < first || own >= first + block.columns) continue;
      row_weights[own - first] += own_weight(row);
    }
  }

  std::vector<FoldPart<T>> fold_program() override { return {negatives_->fold_part(*groups_)}; }

  std::vector<WeighPart<T>> weigh_program() override {
    own_.clear();
    own_weight_.clear();
    for (std::vector<T>& array : row_arrays_) array.clear();
    for (int64_t row = 0; row < batch_->rows; ++row) {
      row_arrays_[0].push_back(rows_[static_cast<size_t>(row)].max);
      row_arrays_[1].push_back(rows_[static_cast<size_t>(row)].factor);
      own_.push_back(batch_->offset + row);
      own_weight_.push_back(own_weight(row));
    }
    WeighPart<T> negatives;
    negatives.kind = WeighKind::kSoftmax;
    negatives.members = Members::kNegatives;
    take_codes(negatives, *groups_, batch_->offset);
    WeighPart<T> own = negatives;
    negatives.constant[1] = static_cast<T>(scale_);
    negatives.row[0] = row_arrays_[0].data();
    negatives.row[1] = row_arrays_[1].data();
    negatives.column[0] = column_max_.data();
    negatives.column[1] = column_factor_.data();
    own.kind = WeighKind::kEntry;
    own.row[1] = own_weight_.data();
    own.row_index = own_.data();
    return {negatives, own};
  }

 private:
  // What the pair of this row and its own column gets for its anchors' negatives.
  T own_weight(int64_t row) const {
    return -(row_pull_[static_cast<size_t>(row)] + column_pull_[static_cast<size_t>(batch_->offset + row)]);
  }
  int32_t code_of(int64_t row) const { return groups_->code[static_cast<size_t>(batch_->offset + row)]; }

  double hinge_of(size_t own, double max, double sum) const {
    const int64_t negatives = batch_->columns - groups_->count[own];
    const double soft = max + std::log(sum / static_cast<double>(std::min(top_k_, negatives))) / scale_;
    return hinge(margin_, batch_->pair_cosine[own], negatives > 0 ? soft : kNoCosine);
  }
  double column_hinge(size_t column) const {
    const auto j = static_cast<int64_t>(column);
    return hinge_of(column, negatives_->column_max(j), negatives_->column_sum(j));
  }

  double margin_;
  Positives exclude_;
  bool mean_;
  double scale_;
  int64_t top_k_;
  const PairBatch* batch_ = nullptr;
  const Groups* groups_ = nullptr;
  std::unique_ptr<SoftmaxStatistics<T>> negatives_;
  std::vector<Anchor<T>> rows_;
  std::vector<T> row_pull_;    // what an active anchor's own pair is pulled by
  std::vector<T> column_max_;  // these [columns]
  std::vector<T> column_factor_;
  std::vector<T> column_pull_;
  std::vector<T> row_arrays_[2];  // for a device, as the next
  std::vector<int64_t> own_;
  std::vector<T> own_weight_;
};

}  // namespace

LossTerm describe_triplet_soft(const Triplet& config) {
  return make_loss_term<SoftTripletLoss>(config);
}

}  // namespace muster
