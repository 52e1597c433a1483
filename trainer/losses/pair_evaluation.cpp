#include "trainer/losses/pair_evaluation.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "trainer/losses/alignment_engine.h"
#include "trainer/losses/column_passes.h"
#include "trainer/losses/device_engine.h"
#include "trainer/losses/tile_engine.h"

namespace muster {
namespace {

// The column statistics of all losses, as one tensor per way of combining: four collectives at most, however many
// losses.
class ColumnExchange {
 public:
  template <typename T>
  ColumnExchange(const PairLosses<T>& losses, int64_t columns) {
    PairNeeds total;
    for (const auto& loss : losses) {
      total.maxima += loss->needs().maxima;
      total.sums += loss->needs().sums;
      total.indices += loss->needs().indices;
      total.positive_sums += loss->needs().positive_sums;
    }
    maxima_ = at::full({total.maxima, columns}, kNoCosine, at::kDouble);
    sums_ = at::zeros({total.sums, columns}, at::kDouble);
    indices_ = at::full({total.indices, columns}, kNoIndex, at::kLong);
    positive_sums_ = at::zeros({total.positive_sums, columns}, at::kDouble);
    PairNeeds next;
    for (const auto& loss : losses) {
      statistics_.emplace_back();
      const PairNeeds needs = loss->needs();
      for (int i = 0; i < needs.maxima; ++i) statistics_.back().maxima.push_back(row<double>(maxima_, next.maxima++));
      for (int i = 0; i < needs.sums; ++i) statistics_.back().sums.push_back(row<double>(sums_, next.sums++));
      for (int i = 0; i < needs.indices; ++i)
        statistics_.back().indices.push_back(row<int64_t>(indices_, next.indices++));
      for (int i = 0; i < needs.positive_sums; ++i)
        statistics_.back().positive_sums.push_back(row<double>(positive_sums_, next.positive_sums++));
    }
  }

  const ColumnStatistics& of(size_t loss) const { return statistics_[loss]; }

  template <typename T>
  void combine(const PairLosses<T>& losses, Communicator& communicator) {
    const at::Tensor local = maxima_.clone();
    if (maxima_.size(0) > 0) communicator.all_reduce(maxima_, ReduceOp::kMax, "loss.column_maxima").wait();
    int64_t next = 0;
    for (const auto& loss : losses) {
      std::vector<const double*> mine;
      for (int i = 0; i < loss->needs().maxima; ++i) mine.push_back(row<double>(local, next++));
      loss->rebase(mine);
    }
    if (sums_.size(0) > 0) communicator.all_reduce(sums_, ReduceOp::kSum, "loss.column_sums").wait();
    if (indices_.size(0) > 0) communicator.all_reduce(indices_, ReduceOp::kMin, "loss.column_indices").wait();
  }

  bool has_positive_sums() const { return positive_sums_.size(0) > 0; }
  void combine_positive_sums(Communicator& communicator) {
    communicator.all_reduce(positive_sums_, ReduceOp::kSum, "loss.positive_sums").wait();
  }

 private:
  template <typename Element>
  static Element* row(const at::Tensor& matrix, int64_t i) {
    return matrix.data_ptr<Element>() + i * matrix.size(1);
  }

  at::Tensor maxima_;
  at::Tensor sums_;
  at::Tensor indices_;
  at::Tensor positive_sums_;
  std::vector<ColumnStatistics> statistics_;
};

template <typename T>
bool any_needs(const PairLosses<T>& losses, bool PairNeeds::*what) {
  return std::any_of(losses.begin(), losses.end(), [&](const auto& loss) { return loss->needs().*what; });
}

// The same on every rank, whatever its rows are.
template <typename T>
bool all_weigh_few(const PairLosses<T>& losses) {
  return std::all_of(losses.begin(), losses.end(), [](const auto& loss) { return loss->needs().few_pairs; });
}

// Sets the batch's numbers that belong to these features.
template <typename T, typename Engine>
void describe_features(const Engine& engine, const PairLosses<T>& losses, GlobalBatch& global,
                       Communicator& communicator) {
  PairBatch& batch = global.batch;
  if constexpr (Engine::kRowsHaveLengths) {
    if (any_needs(losses, &PairNeeds::norms)) {
      batch.row_norm = engine.row_norms();
      batch.column_norm = engine.column_norms();
    }
  } else if (any_needs(losses, &PairNeeds::norms)) {
    throw std::logic_error("evaluate_sets: a loss that needs lengths of rows");
  }
  batch.pair_cosine.clear();
  if (!any_needs(losses, &PairNeeds::pair_cosine)) return;
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (int64_t row = 0; row < batch.rows; ++row) pairs.emplace_back(row, batch.offset + row);
  const std::vector<double> cosines = engine.pair_cosines(pairs);
  const at::Tensor mine = at::empty({batch.rows}, at::kDouble);
  std::copy(cosines.begin(), cosines.end(), mine.data_ptr<double>());
  const at::Tensor all = gather_rows(mine, global.rows, communicator, "loss.pair_cosines");
  batch.pair_cosine.assign(all.const_data_ptr<double>(), all.const_data_ptr<double>() + batch.columns);
}

// Some pairs at a time: where all are of one identity there are as many as similarities.
constexpr size_t kPositivesAtOnce = 1 << 16;

// Of the columns of a block.
template <typename T, typename Engine>
void visit_positives(const Engine& engine, const ColumnBlock& block, const PairBatch& batch,
                     const PairLosses<T>& losses) {
  std::vector<std::vector<int64_t>> members(batch.identities.count.size());  // columns of each identity
  for (int64_t column = block.first; column < block.first + block.count; ++column) {
    const auto code = static_cast<size_t>(batch.identities.code[static_cast<size_t>(column)]);
    members[code].push_back(column);
  }
  std::vector<std::pair<int64_t, int64_t>> pairs;
  const auto visit = [&] {
    const std::vector<double> cosines = engine.pair_cosines(pairs);
    for (const auto& loss : losses) {
      if (loss->needs().positive_sums == 0) continue;
      for (size_t i = 0; i < pairs.size(); ++i) loss->visit_positive(pairs[i].first, pairs[i].second, cosines[i]);
    }
    pairs.clear();
  };
  for (int64_t row = 0; row < batch.rows; ++row) {
    const int32_t code = batch.identities.code[static_cast<size_t>(batch.offset + row)];
    for (const int64_t column : members[static_cast<size_t>(code)]) {
      pairs.emplace_back(row, column);
      if (pairs.size() == kPositivesAtOnce) visit();
    }
  }
  visit();
}

// Gradients of the lengths of this rank's raw rows, [b] each; undefined if no loss has them.
struct NormGradients {
  at::Tensor image;
  at::Tensor text;

  static const double* data(const at::Tensor& gradient) {
    return gradient.defined() ? gradient.const_data_ptr<double>() : nullptr;
  }
};

template <typename T>
NormGradients norm_gradients(const PairLosses<T>& losses, const GlobalBatch& global, Communicator& communicator) {
  if (!any_needs(losses, &PairNeeds::norm_gradient)) return {};
  const NormGradients gradients{at::zeros({global.batch.rows}, at::kDouble),
                                at::zeros({global.batch.rows}, at::kDouble)};
  const at::Tensor columns = at::zeros({global.batch.columns}, at::kDouble);
  for (const auto& loss : losses) {
    loss->add_norm_gradients(gradients.image.data_ptr<double>(), columns.data_ptr<double>());
  }
  communicator.reduce_scatter(gradients.text, columns, global.rows, "loss.norm_gradient").wait();
  return gradients;
}

// Keeps the scores of pass 1.
template <typename T>
class ScoreRecorder : public TileLoss<T> {
 public:
  // scores [rows, columns], contiguous.
  explicit ScoreRecorder(const at::Tensor& scores) : scores_(scores.template data_ptr<T>()), columns_(scores.size(1)) {}

  void fold(const Block<T>& block) override {
    for (int64_t r = 0; r < block.rows; ++r) {
      std::copy_n(block.row(r), block.columns, scores_ + (block.first_row + r) * columns_ + block.first_column);
    }
  }
  void weigh(const Block<T>& /*block*/, T* /*weights*/) override {}
  std::vector<FoldPart<T>> fold_program() override { throw std::logic_error("ScoreRecorder: on the CPU alone"); }
  std::vector<WeighPart<T>> weigh_program() override { return {}; }

 private:
  T* scores_;
  int64_t columns_;
};

// Pass 2: fills d_image, which is zero, and returns the gradient of this rank's texts, summed over ranks. Collective.
template <typename T, typename Engine, typename Columns>
at::Tensor weigh(Engine& engine, const Columns& columns, const PairLosses<T>& losses, const at::Tensor& d_image) {
  if constexpr (Engine::kWeighsPairs) {
    if (all_weigh_few(losses)) {
      std::vector<WeighedPair> pairs;
      for (const auto& loss : losses) loss->list_pairs(pairs);
      return columns.weigh_pairs(std::move(pairs), d_image);
    }
  }
  TileLosses<T> tiles;
  for (const auto& loss : losses) tiles.push_back(loss.get());
  return columns.sum_gradient([&](const ColumnBlock& block) {
    const at::Tensor d_columns = at::empty_like(block.rows);
    engine.weigh(tiles, d_image, d_columns);
    return d_columns;
  });
}

template <typename T, typename Engine, typename Columns>
PairResult evaluate_with(Engine& engine, const at::Tensor& image, const Columns& columns, GlobalBatch& global,
                         const PairLosses<T>& losses, const std::vector<double>& weights, const TaughtScores& taught,
                         const TileShape& shape, Communicator& communicator) {
  columns.go_home();
  describe_features(engine, losses, global, communicator);
  const PairBatch& batch = global.batch;

  ColumnExchange exchange(losses, batch.columns);
  for (size_t i = 0; i < losses.size(); ++i) losses[i]->begin(batch, exchange.of(i), shape);
  TileLosses<T> folding;
  for (const auto& loss : losses) folding.push_back(loss.get());
  std::optional<ScoreRecorder<T>> recorder;
  if (taught.record.defined()) folding.push_back(&recorder.emplace(taught.record));
  columns.pass([&](const ColumnBlock&) { engine.fold(folding); });
  exchange.combine(losses, communicator);
  if (exchange.has_positive_sums()) {
    columns.pass([&](const ColumnBlock& block) { visit_positives(engine, block, batch, losses); });
    exchange.combine_positive_sums(communicator);
  }

  std::vector<double> shares;
  for (size_t i = 0; i < losses.size(); ++i) shares.push_back(losses[i]->finish(weights[i]));
  PairResult result;
  result.finite = engine.all_finite();
  if (losses.empty()) return result;
  result.values = sum_shares(shares, result.finite && taught.finite, communicator);

  result.d_image = at::zeros(image.sizes(), image.options());
  result.d_text = weigh(engine, columns, losses, result.d_image);
  const NormGradients norms = norm_gradients(losses, global, communicator);
  engine.rows_backward(0, result.d_image, NormGradients::data(norms.image));
  engine.columns_backward(columns.go_home(), result.d_text, NormGradients::data(norms.text));
  return result;
}

}  // namespace

template <typename T>
PairResult evaluate_pairs(const at::Tensor& image, const at::Tensor& columns, GlobalBatch& global,
                          const PairLosses<T>& losses, const std::vector<double>& weights, const TaughtScores& taught,
                          const TileShape& shape, const LossDevice& device, Communicator& communicator) {
  const auto evaluate = [&](auto& engine) {
    const ColumnRows rows{global.rows, global.batch.offset};
    const GatheredColumns gathered(engine, columns, rows, global.batch.columns, communicator);
    return evaluate_with(engine, image, gathered, global, losses, weights, taught, shape, communicator);
  };
  if (device.tiles == nullptr) {
    TileEngine<T> engine(image, columns, shape);
    return evaluate(engine);
  }
  const bool half = device.half_products && std::is_same_v<T, float>;
  DeviceEngine<T> engine(image, columns, global.batch.offset, shape, *device.tiles, half);
  return evaluate(engine);
}

template <typename T>
PairResult evaluate_sets(const at::Tensor& image, const SetColumns& columns, const SetSizes& sizes,
                         const Alignment& alignment, GlobalBatch& global, const PairLosses<T>& losses,
                         const std::vector<double>& weights, const TaughtScores& taught, const TileShape& shape,
                         Communicator& communicator) {
  const ColumnRows rows = rows_of_sets(global.rows, sizes.text, communicator.rank());
  AlignmentEngine<T> engine(image, sizes, alignment, shape);
  if (columns.gathered) {
    engine.take_columns(columns.words, sizes.text, 0);
    const GatheredColumns gathered(engine, columns.words, rows, global.batch.columns, communicator);
    return evaluate_with(engine, image, gathered, global, losses, weights, taught, shape, communicator);
  }
  const TravellingColumns<T> travelling(engine, columns.words, rows, global.rows, sizes.text, communicator);
  return evaluate_with(engine, image, travelling, global, losses, weights, taught, shape, communicator);
}

template PairResult evaluate_pairs(const at::Tensor&, const at::Tensor&, GlobalBatch&, const PairLosses<float>&,
                                   const std::vector<double>&, const TaughtScores&, const TileShape&, const LossDevice&,
                                   Communicator&);
template PairResult evaluate_pairs(const at::Tensor&, const at::Tensor&, GlobalBatch&, const PairLosses<double>&,
                                   const std::vector<double>&, const TaughtScores&, const TileShape&, const LossDevice&,
                                   Communicator&);

template PairResult evaluate_sets(const at::Tensor&, const SetColumns&, const SetSizes&, const Alignment&, GlobalBatch&,
                                  const PairLosses<float>&, const std::vector<double>&, const TaughtScores&,
                                  const TileShape&, Communicator&);
template PairResult evaluate_sets(const at::Tensor&, const SetColumns&, const SetSizes&, const Alignment&, GlobalBatch&,
                                  const PairLosses<double>&, const std::vector<double>&, const TaughtScores&,
                                  const TileShape&, Communicator&);

}  // namespace muster
