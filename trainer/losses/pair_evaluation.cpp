#include "trainer/losses/pair_evaluation.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <limits>
#include <numeric>
#include <unordered_map>

#include "launch/error.h"
#include "trainer/losses/tile_engine.h"

namespace muster {
namespace {

std::vector<int64_t> ones(int size) {
  return std::vector<int64_t>(static_cast<size_t>(size), 1);
}

// Number of rows of each rank.
std::vector<int64_t> gather_rows(const at::Tensor& image, Communicator& communicator) {
  const at::Tensor mine = at::empty({1, 2}, at::kLong);
  mine.data_ptr<int64_t>()[0] = image.size(0);
  mine.data_ptr<int64_t>()[1] = image.size(1);
  const at::Tensor all = at::empty({communicator.size(), 2}, at::kLong);
  communicator.all_gather(all, mine, ones(communicator.size()), "loss.rows").wait();
  std::vector<int64_t> rows;
  for (int r = 0; r < communicator.size(); ++r) {
    const int64_t width = all.const_data_ptr<int64_t>()[2 * r + 1];
    if (width != image.size(1)) {
      throw CommError(
          fmt::format("loss: rank {} has features of width {}, rank {} of width {}; every rank must run the "
                      "same model",
                      communicator.rank(), image.size(1), r, width));
    }
    rows.push_back(all.const_data_ptr<int64_t>()[2 * r]);
  }
  return rows;
}

// The ranks' rows in rank order. In a world of one that is the tensor itself.
at::Tensor gather(const at::Tensor& local, const std::vector<int64_t>& rows, Communicator& communicator,
                  const std::string& name) {
  if (communicator.size() == 1) return local;
  std::vector<int64_t> sizes = local.sizes().vec();
  sizes[0] = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  at::Tensor all = at::empty(sizes, local.options());
  communicator.all_gather(all, local, rows, name).wait();
  return all;
}

Groups pair_groups(int64_t columns) {
  Groups groups{std::vector<int32_t>(static_cast<size_t>(columns)),
                std::vector<int32_t>(static_cast<size_t>(columns), 1)};
  std::iota(groups.code.begin(), groups.code.end(), 0);
  return groups;
}

Groups identity_groups(const at::Tensor& identity) {
  std::unordered_map<int64_t, int32_t> codes;
  std::vector<int32_t> members;
  Groups groups;
  const int64_t* ids = identity.const_data_ptr<int64_t>();
  for (int64_t j = 0; j < identity.size(0); ++j) {
    const auto [entry, is_new] = codes.emplace(ids[j], static_cast<int32_t>(members.size()));
    if (is_new) members.push_back(0);
    ++members[static_cast<size_t>(entry->second)];
    groups.code.push_back(entry->second);
  }
  for (const int32_t code : groups.code) groups.count.push_back(members[static_cast<size_t>(code)]);
  return groups;
}

PairBatch make_batch(const at::Tensor& identity, const std::vector<int64_t>& rows, int rank) {
  PairBatch batch;
  batch.rows = rows[static_cast<size_t>(rank)];
  batch.columns = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  batch.offset = std::accumulate(rows.begin(), rows.begin() + rank, int64_t{0});
  if (batch.columns == 0) throw DataError("loss: the global batch has no rows; give the objective at least one pair");
  if (batch.columns > std::numeric_limits<int32_t>::max()) {
    throw DataError(fmt::format("loss: a global batch of {} rows is beyond 2^31 - 1", batch.columns));
  }
  batch.pairs = pair_groups(batch.columns);
  batch.identities = identity_groups(identity);
  return batch;
}

// The column statistics of all losses, as one tensor per way of combining: three collectives, however many losses.
class ColumnExchange {
 public:
  template <typename T>
  ColumnExchange(const PairLosses<T>& losses, int64_t columns) {
    ColumnNeeds total;
    for (const auto& loss : losses) {
      total.maxima += loss->needs().maxima;
      total.sums += loss->needs().sums;
      total.indices += loss->needs().indices;
    }
    maxima_ = at::full({total.maxima, columns}, kNoCosine, at::kDouble);
    sums_ = at::zeros({total.sums, columns}, at::kDouble);
    indices_ = at::full({total.indices, columns}, kNoIndex, at::kLong);
    ColumnNeeds next;
    for (const auto& loss : losses) {
      statistics_.emplace_back();
      const ColumnNeeds needs = loss->needs();
      for (int i = 0; i < needs.maxima; ++i) statistics_.back().maxima.push_back(row<double>(maxima_, next.maxima++));
      for (int i = 0; i < needs.sums; ++i) statistics_.back().sums.push_back(row<double>(sums_, next.sums++));
      for (int i = 0; i < needs.indices; ++i)
        statistics_.back().indices.push_back(row<int64_t>(indices_, next.indices++));
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

 private:
  template <typename Element>
  static Element* row(const at::Tensor& matrix, int64_t i) {
    return matrix.data_ptr<Element>() + i * matrix.size(1);
  }

  at::Tensor maxima_;
  at::Tensor sums_;
  at::Tensor indices_;
  std::vector<ColumnStatistics> statistics_;
};

// Adds up the ranks' shares in rank order, so that every rank has the same bits and takes the same decisions. Features
// that are not finite anywhere make every value NaN, whatever a loss made of them.
std::vector<double> sum_shares(const std::vector<double>& shares, bool finite, Communicator& communicator) {
  const int64_t width = static_cast<int64_t>(shares.size()) + 1;
  const at::Tensor mine = at::empty({1, width}, at::kDouble);
  std::copy(shares.begin(), shares.end(), mine.data_ptr<double>());
  mine.data_ptr<double>()[width - 1] = finite ? 0 : std::numeric_limits<double>::quiet_NaN();
  const at::Tensor all = at::empty({communicator.size(), width}, at::kDouble);
  communicator.all_gather(all, mine, ones(communicator.size()), "loss.values").wait();
  std::vector<double> values(shares.size(), 0.0);
  for (int r = 0; r < communicator.size(); ++r) {
    const double* row = all.const_data_ptr<double>() + r * width;
    for (size_t i = 0; i < values.size(); ++i) values[i] += row[i] + row[width - 1];
  }
  return values;
}

}  // namespace

template <typename T>
PairResult evaluate_pairs(const at::Tensor& image, const at::Tensor& text, const at::Tensor& identity,
                          const PairLosses<T>& losses, const std::vector<double>& weights, const TileShape& shape,
                          Communicator& communicator) {
  const std::vector<int64_t> rows = gather_rows(image, communicator);
  const at::Tensor columns = gather(text, rows, communicator, "loss.text");
  const PairBatch batch = make_batch(gather(identity, rows, communicator, "loss.identity"), rows, communicator.rank());

  ColumnExchange exchange(losses, batch.columns);
  for (size_t i = 0; i < losses.size(); ++i) losses[i]->begin(batch, exchange.of(i), shape);
  TileEngine<T> engine(image, columns, shape);
  engine.fold(losses);
  exchange.combine(losses, communicator);

  std::vector<double> shares;
  for (size_t i = 0; i < losses.size(); ++i) shares.push_back(losses[i]->finish(weights[i]));
  PairResult result;
  result.values = sum_shares(shares, engine.all_finite(), communicator);

  result.d_image = at::empty(image.sizes(), image.options());
  const at::Tensor d_columns = at::empty(columns.sizes(), columns.options());
  engine.weigh(losses, result.d_image, d_columns);
  result.d_text = communicator.size() == 1 ? d_columns : at::empty(text.sizes(), text.options());
  communicator.reduce_scatter(result.d_text, d_columns, rows, "loss.text_gradient").wait();
  engine.rows_backward(result.d_image);
  engine.columns_backward(batch.offset, result.d_text);
  return result;
}

template PairResult evaluate_pairs(const at::Tensor&, const at::Tensor&, const at::Tensor&, const PairLosses<float>&,
                                   const std::vector<double>&, const TileShape&, Communicator&);
template PairResult evaluate_pairs(const at::Tensor&, const at::Tensor&, const at::Tensor&, const PairLosses<double>&,
                                   const std::vector<double>&, const TileShape&, Communicator&);

}  // namespace muster
