// Triplet loss summed over all negatives of the global batch (Faghri et al., VSE++, BMVC 2018, "sum of hinges"), on
// cosines:
//                  h_i = sum_{j negative} max(0, margin - s_ii + s_ij)
// and for columns alike; each times its anchor's weight, sum (or sum / sum of weights) of both directions. An anchor
// without negatives has no loss; at a hinge of exactly zero the gradient is zero. With n_i the number of an anchor's
// negatives whose hinge is not zero, its positive pair gets -n_i where each of those negatives gets 1.
#include <algorithm>

#include "trainer/losses/losses.pb.h"
#include "trainer/losses/triplet.h"
#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

// Negatives above the threshold, s_ii - margin, have a loss: their number and its sum.
template <typename T>
struct Hinges {
  T sum;
  T count;
};

template <typename T>
struct Row {
  T threshold;
  T factor;
  int32_t code;
};

// Of the block's columns.
template <typename T>
struct Columns {
  const T* threshold;
  const T* factor;
  const int32_t* codes;
};

template <typename T>
struct Partials {
  T* sum;
  T* count;
};

template <typename T>
MUSTER_INLINE Hinges<T> fold_row_of(const T* __restrict s, int64_t n, const Row<T>& row, const Columns<T>& columns,
                                    const Partials<T>& partials) {
  const Row<T> r = row;
  const T* __restrict threshold = columns.threshold;
  const int32_t* __restrict codes = columns.codes;
  T* __restrict column_sum = partials.sum;
  T* __restrict column_count = partials.count;
  T sum = 0;
  T count = 0;
#pragma omp simd reduction(+ : sum, count)
  for (int64_t j = 0; j < n; ++j) {
    const T negative = codes[j] == r.code ? static_cast<T>(kNoCosine) : s[j];
    const T h = negative - r.threshold;
    const T column_h = negative - threshold[j];
    sum += h > 0 ? h : T{0};
    count += h > 0 ? T{1} : T{0};
    column_sum[j] += column_h > 0 ? column_h : T{0};
    column_count[j] += column_h > 0 ? T{1} : T{0};
  }
  return {sum, count};
}

MUSTER_VECTOR_CLONES Hinges<float> fold_row(const float* s, int64_t n, const Row<float>& row,
                                            const Columns<float>& columns, const Partials<float>& partials) {
  return fold_row_of(s, n, row, columns, partials);
}
MUSTER_VECTOR_CLONES Hinges<double> fold_row(const double* s, int64_t n, const Row<double>& row,
                                             const Columns<double>& columns, const Partials<double>& partials) {
  return fold_row_of(s, n, row, columns, partials);
}

template <typename T>
MUSTER_INLINE void weigh_row_of(const T* __restrict s, int64_t n, const Row<T>& row, const Columns<T>& columns,
                                T* __restrict weights) {
  const Row<T> r = row;
  const T* __restrict threshold = columns.threshold;
  const T* __restrict factor = columns.factor;
  const int32_t* __restrict codes = columns.codes;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const T negative = codes[j] == r.code ? static_cast<T>(kNoCosine) : s[j];
    weights[j] += (negative - r.threshold > 0 ? r.factor : T{0}) + (negative - threshold[j] > 0 ? factor[j] : T{0});
  }
}

MUSTER_VECTOR_CLONES void weigh_row(const float* s, int64_t n, const Row<float>& row, const Columns<float>& columns,
                                    float* weights) {
  weigh_row_of(s, n, row, columns, weights);
}
MUSTER_VECTOR_CLONES void weigh_row(const double* s, int64_t n, const Row<double>& row, const Columns<double>& columns,
                                    double* weights) {
  weigh_row_of(s, n, row, columns, weights);
}

template <typename T>
class AllTripletLoss : public PairLoss<T> {
 public:
  AllTripletLoss(const Triplet& config, const LogitParameters&)
      : margin_(config.margin()), exclude_(config.exclude()), mean_(config.reduction() == MEAN) {}

  PairNeeds needs() const override {
    PairNeeds needs;
    needs.sums = 2;
    needs.pair_cosine = true;
    return needs;
  }

  void begin(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape) override {
    batch_ = &batch;
    groups_ = exclude_ == PAIR ? &batch.pairs : &batch.identities;
    column_sum_ = columns.sums.at(0);
    column_count_ = columns.sums.at(1);
    row_sum_.assign(static_cast<size_t>(batch.rows), 0.0);
    row_count_.assign(static_cast<size_t>(batch.rows), 0.0);
    for (const double cosine : batch.pair_cosine) threshold_.push_back(static_cast<T>(cosine - margin_));
    factor_.assign(static_cast<size_t>(batch.columns), T{0});
    tile_columns_ = std::min(shape.columns, batch.columns);
    partials_.resize(static_cast<size_t>(2 * shape.blocks() * tile_columns_));
  }

  void fold(const Block<T>& block) override {
    const Partials<T> partials = block_partials(block.index);
    std::fill_n(partials.sum, block.columns, T{0});
    std::fill_n(partials.count, block.columns, T{0});
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const Hinges<T> folded =
          fold_row(block.row(r), block.columns, anchor(row), columns(block.first_column), partials);
      row_sum_[static_cast<size_t>(row)] += static_cast<double>(folded.sum);
      row_count_[static_cast<size_t>(row)] += static_cast<double>(folded.count);
    }
  }

  void merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) override {
    for (int64_t block = 0; block < blocks; ++block) {
      const Partials<T> from = block_partials(block);
      for (int64_t j = first; j < first + count; ++j) {
        column_sum_[tile_column + j] += static_cast<double>(from.sum[j]);
        column_count_[tile_column + j] += static_cast<double>(from.count[j]);
      }
    }
  }

  double finish(double weight) override {
    const double anchors = mean_ ? batch_->weight_sum : 1.0;
    double value = 0;
    for (int64_t row = 0; row < batch_->rows; ++row) {
      const int64_t own = batch_->offset + row;
      value += batch_->weight[static_cast<size_t>(own)] * (row_sum_[static_cast<size_t>(row)] + column_sum_[own]);
    }
    for (size_t j = 0; j < factor_.size(); ++j) factor_[j] = static_cast<T>(weight * batch_->weight[j] / anchors);
    return value / anchors;
  }

  void weigh(const Block<T>& block, T* weights) override {
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      T* row_weights = weights + r * block.columns;
      weigh_row(block.row(r), block.columns, anchor(row), columns(block.first_column), row_weights);
      const int64_t own = batch_->offset + row;
      if (own < block.first_column || own >= block.first_column + block.columns) continue;
      row_weights[own - block.first_column] += own_weight(own);
    }
  }

  std::vector<FoldPart<T>> fold_program() override {
    FoldPart<T> part;
    part.kind = FoldKind::kHinges;
    take_codes(part, *groups_, batch_->offset);
    part.row[0] = threshold_.data() + batch_->offset;
    part.column[0] = threshold_.data();
    part.row_result[0] = row_sum_.data();
    part.row_result[1] = row_count_.data();
    part.column_result[0] = column_sum_;
    part.column_result[1] = column_count_;
    return {part};
  }

  std::vector<WeighPart<T>> weigh_program() override {
    own_.clear();
    own_weight_.clear();
    for (int64_t own = batch_->offset; own < batch_->offset + batch_->rows; ++own) {
      own_.push_back(own);
      own_weight_.push_back(own_weight(own));
    }
    WeighPart<T> negatives;
    negatives.kind = WeighKind::kStep;
    take_codes(negatives, *groups_, batch_->offset);
    WeighPart<T> positives = negatives;
    negatives.row[0] = threshold_.data() + batch_->offset;
    negatives.row[1] = factor_.data() + batch_->offset;
    negatives.column[0] = threshold_.data();
    negatives.column[1] = factor_.data();
    positives.kind = WeighKind::kEntry;
    positives.row[1] = own_weight_.data();
    positives.row_index = own_.data();
    return {negatives, positives};
  }

 private:
  // What the pair of row and column `own` gets for all of its anchors' negatives.
  T own_weight(int64_t own) const {
    const double hinges = row_count_[static_cast<size_t>(own - batch_->offset)] + column_count_[own];
    return static_cast<T>(-static_cast<double>(factor_[static_cast<size_t>(own)]) * hinges);
  }
  Row<T> anchor(int64_t row) const {
    const size_t own = static_cast<size_t>(batch_->offset + row);
    return {threshold_[own], factor_[own], groups_->code[own]};
  }
  Columns<T> columns(int64_t first) const {
    return {threshold_.data() + first, factor_.data() + first, groups_->code.data() + first};
  }
  Partials<T> block_partials(int64_t block) {
    T* base = partials_.data() + 2 * block * tile_columns_;
    return {base, base + tile_columns_};
  }

  double margin_;
  Positives exclude_;
  bool mean_;
  const PairBatch* batch_ = nullptr;
  const Groups* groups_ = nullptr;
  double* column_sum_ = nullptr;
  double* column_count_ = nullptr;
  int64_t tile_columns_ = 0;
  std::vector<double> row_sum_;
  std::vector<double> row_count_;
  std::vector<T> threshold_;  // [columns]
  std::vector<T> factor_;     // [columns] once the loss is known
  std::vector<T> partials_;
  std::vector<int64_t> own_;  // for a device, as the next
  std::vector<T> own_weight_;
};

}  // namespace

LossTerm describe_triplet_all(const Triplet& config) {
  return make_loss_term<AllTripletLoss>(config);
}

}  // namespace muster
