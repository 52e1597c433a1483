// Triplet loss with the hardest negative of the global batch (Faghri et al., VSE++, BMVC 2018), on cosines:
//                  h_i = max(0, margin - s_ii + max_{j negative} s_ij)
// and for columns alike; each times its anchor's weight, sum (or sum / sum of weights) of both directions. Ties go to
// the lowest global index; an anchor without negatives has no loss; at a hinge of exactly zero the gradient is zero. An
// anchor's gradient touches two pairs. triplet_all.cpp has the sum over all negatives,
// triplet_soft.cpp a soft maximum.
#include "trainer/losses/triplet.h"

#include <algorithm>
#include <numeric>

#include "trainer/losses/hinge.h"
#include "trainer/losses/losses.pb.h"
#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

constexpr int32_t kNoRow = -1;

template <typename T>
struct BlockColumns {
  T* max;        // hardest negative of the block's rows
  int32_t* row;  // which row of this rank it is
};

// Returns the row's hardest negative and updates the columns'. `code` is the row's; equal codes are no negatives.
template <typename T>
MUSTER_INLINE T fold_row_of(const T* __restrict s, int64_t n, const int32_t* __restrict codes, int32_t code,
                            int32_t row, const BlockColumns<T>& columns) {
  constexpr T kNone = static_cast<T>(kNoCosine);
  T* __restrict column_max = columns.max;
  int32_t* __restrict column_row = columns.row;
  T row_max = kNone;
#pragma omp simd reduction(max : row_max)
  for (int64_t j = 0; j < n; ++j) {
    const T negative = codes[j] == code ? kNone : s[j];
    row_max = negative > row_max ? negative : row_max;
    const bool harder = negative > column_max[j];
    column_row[j] = harder ? row : column_row[j];
    column_max[j] = harder ? negative : column_max[j];
  }
  return row_max;
}

MUSTER_VECTOR_CLONES float fold_row(const float* s, int64_t n, const int32_t* codes, int32_t code, int32_t row,
                                    const BlockColumns<float>& columns) {
  return fold_row_of(s, n, codes, code, row, columns);
}
MUSTER_VECTOR_CLONES double fold_row(const double* s, int64_t n, const int32_t* codes, int32_t code, int32_t row,
                                     const BlockColumns<double>& columns) {
  return fold_row_of(s, n, codes, code, row, columns);
}

template <typename T>
int64_t first_negative(const T* s, int64_t n, const int32_t* codes, int32_t code, T value) {
  int64_t j = 0;
  while (j < n && !(s[j] == value && codes[j] != code)) ++j;
  return j;
}

template <typename T>
class HardestTripletLoss : public PairLoss<T> {
 public:
  HardestTripletLoss(const Triplet& config, const LogitParameters&)
      : margin_(config.margin()), exclude_(config.exclude()), mean_(config.reduction() == MEAN) {}

  PairNeeds needs() const override {
    PairNeeds needs;
    needs.maxima = 1;
    needs.indices = 1;
    needs.pair_cosine = true;
    needs.few_pairs = true;
    return needs;
  }

  void begin(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape) override {
    batch_ = &batch;
    groups_ = exclude_ == PAIR ? &batch.pairs : &batch.identities;
    column_max_ = columns.maxima.at(0);
    column_index_ = columns.indices.at(0);
    row_max_.assign(static_cast<size_t>(batch.rows), kNoCosine);
    row_column_.assign(static_cast<size_t>(batch.rows), kNoIndex);
    row_factor_.assign(static_cast<size_t>(batch.rows), T{0});
    column_factor_.assign(static_cast<size_t>(batch.columns), T{0});
    tile_columns_ = std::min(shape.columns, batch.columns);
    partial_max_.resize(static_cast<size_t>(shape.blocks() * tile_columns_));
    partial_row_.resize(static_cast<size_t>(shape.blocks() * tile_columns_));
  }

  void fold(const Block<T>& block) override {
    const BlockColumns<T> columns = block_columns(block.index);
    std::fill_n(columns.max, block.columns, static_cast<T>(kNoCosine));
    std::fill_n(columns.row, block.columns, kNoRow);
    const int32_t* codes = groups_->code.data() + block.first_column;
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const size_t i = static_cast<size_t>(row);
      const T* cosines = block.row(r);
      const int32_t code = groups_->code[static_cast<size_t>(batch_->offset + row)];
      const T max = fold_row(cosines, block.columns, codes, code, static_cast<int32_t>(row), columns);
      const auto hardest = static_cast<double>(max);
      if (hardest < row_max_[i] || hardest == kNoCosine) continue;
      const int64_t column = block.first_column + first_negative(cosines, block.columns, codes, code, max);
      if (hardest == row_max_[i] && column > row_column_[i]) continue;
      row_max_[i] = hardest;
      row_column_[i] = column;
    }
  }

  void merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) override {
    for (int64_t block = 0; block < blocks; ++block) {
      const BlockColumns<T> from = block_columns(block);
      for (int64_t j = first; j < first + count; ++j) {
        if (!(static_cast<double>(from.max[j]) > column_max_[tile_column + j])) continue;
        column_max_[tile_column + j] = static_cast<double>(from.max[j]);
        column_index_[tile_column + j] = batch_->offset + from.row[j];
      }
    }
  }

  void rebase(const std::vector<const double*>& local) override {
    for (int64_t j = 0; j < batch_->columns; ++j) {
      if (local.at(0)[j] < column_max_[j]) column_index_[j] = kNoIndex;
    }
  }

  double finish(double weight) override {
    const double anchors = mean_ ? batch_->weight_sum : 1.0;
    double value = 0;
    for (int64_t row = 0; row < batch_->rows; ++row) {
      const size_t i = static_cast<size_t>(row);
      const size_t own = static_cast<size_t>(batch_->offset + row);
      const double h = hinge(margin_, batch_->pair_cosine[own], row_max_[i]);
      value += batch_->weight[own] * (h + column_hinge(own));
      if (h > 0) row_factor_[i] = static_cast<T>(weight * batch_->weight[own] / anchors);
    }
    for (size_t column = 0; column < column_factor_.size(); ++column) {
      if (column_hinge(column) > 0) column_factor_[column] = static_cast<T>(weight * batch_->weight[column] / anchors);
    }
    return value / anchors;
  }

  void weigh(const Block<T>& block, T* weights) override {
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const T factor = row_factor_[static_cast<size_t>(row)];
      if (factor == 0) continue;
      add(block, row, row_column_[static_cast<size_t>(row)], factor, weights);
      add(block, row, batch_->offset + row, -factor, weights);
    }
    for (int64_t column = block.first_column; column < block.first_column + block.columns; ++column) {
      const T factor = column_factor_[static_cast<size_t>(column)];
      if (factor == 0) continue;
      add(block, column_index_[column] - batch_->offset, column, factor, weights);
      add(block, column - batch_->offset, column, -factor, weights);
    }
  }

  void list_pairs(std::vector<WeighedPair>& pairs) const override {
    const auto add = [&](int64_t row, int64_t column, T weight) {
      if (row >= 0 && row < batch_->rows) pairs.push_back({row, column, static_cast<double>(weight)});
    };
    for (int64_t row = 0; row < batch_->rows; ++row) {
      const T factor = row_factor_[static_cast<size_t>(row)];
      if (factor == 0) continue;
      add(row, row_column_[static_cast<size_t>(row)], factor);
      add(row, batch_->offset + row, -factor);
    }
    for (int64_t column = 0; column < batch_->columns; ++column) {
      const T factor = column_factor_[static_cast<size_t>(column)];
      if (factor == 0) continue;
      add(column_index_[column] - batch_->offset, column, factor);
      add(column - batch_->offset, column, -factor);
    }
  }

  std::vector<FoldPart<T>> fold_program() override {
    FoldPart<T> part;
    part.kind = FoldKind::kHardest;
    take_codes(part, *groups_, batch_->offset);
    part.row_result[0] = row_max_.data();
    part.column_result[0] = column_max_;
    part.row_index = row_column_.data();
    part.column_index = column_index_;
    return {part};
  }

  std::vector<WeighPart<T>> weigh_program() override {
    own_.resize(static_cast<size_t>(batch_->columns));
    std::iota(own_.begin(), own_.end(), int64_t{0});
    minus_factor_.clear();
    for (const T factor : row_factor_) minus_factor_.push_back(-factor);
    for (const T factor : column_factor_) minus_factor_.push_back(-factor);
    WeighPart<T> negatives;
    negatives.kind = WeighKind::kEntry;
    take_codes(negatives, *groups_, batch_->offset);
    WeighPart<T> positives = negatives;
    negatives.row[1] = row_factor_.data();
    negatives.row_index = row_column_.data();
    negatives.column[1] = column_factor_.data();
    negatives.column_index = column_index_;
    positives.row[1] = minus_factor_.data();
    positives.row_index = own_.data() + batch_->offset;
    positives.column[1] = minus_factor_.data() + batch_->rows;
    positives.column_index = own_.data();
    return {negatives, positives};
  }

 private:
  double column_hinge(size_t column) const { return hinge(margin_, batch_->pair_cosine[column], column_max_[column]); }

  BlockColumns<T> block_columns(int64_t block) {
    return {partial_max_.data() + block * tile_columns_, partial_row_.data() + block * tile_columns_};
  }

  static void add(const Block<T>& block, int64_t row, int64_t column, T weight, T* weights) {
    const int64_t r = row - block.first_row;
    const int64_t c = column - block.first_column;
    if (r >= 0 && r < block.rows && c >= 0 && c < block.columns) weights[r * block.columns + c] += weight;
  }

  double margin_;
  Positives exclude_;
  bool mean_;
  const PairBatch* batch_ = nullptr;
  const Groups* groups_ = nullptr;
  double* column_max_ = nullptr;
  int64_t* column_index_ = nullptr;
  int64_t tile_columns_ = 0;
  std::vector<double> row_max_;
  std::vector<int64_t> row_column_;
  std::vector<T> row_factor_;  // 0 where there is no loss
  std::vector<T> column_factor_;
  std::vector<T> partial_max_;
  std::vector<int32_t> partial_row_;
  std::vector<T> minus_factor_;  // for a device: of rows, then of columns
  std::vector<int64_t> own_;     // for a device
};

}  // namespace

LossTerm describe(const Triplet& config, const std::string& path, Checks& checks) {
  checks.at_least(0.0, path + ".margin", config.margin());
  checks.positive(path + ".temperature", config.temperature());
  checks.at_least<int64_t>(1, path + ".top_k", config.top_k());
  switch (config.negatives()) {
    case Triplet::HARDEST:
      break;
    case Triplet::ALL:
      return describe_triplet_all(config);
    case Triplet::SOFT:
      return describe_triplet_soft(config);
  }
  LossTerm term = make_loss_term<HardestTripletLoss>(config);
  term.collapsed = 2 * config.margin();
  term.collapsed_sums = config.reduction() == SUM;
  return term;
}

}  // namespace muster
