#include "trainer/losses/global_batch.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "launch/error.h"

namespace muster {
namespace {

// A rank without rows fits both kinds of peers.
enum WeightsGiven : int64_t { kNo = 0, kYes = 1, kNoRows = 2 };

WeightsGiven weights_given(const Labels& labels) {
  if (labels.identity.size(0) == 0) return kNoRows;
  return labels.weight.defined() ? kYes : kNo;
}

// [ranks, 2 + widths]: rows, whether there are weights, widths.
at::Tensor gather_shapes(const Labels& labels, const std::vector<int64_t>& widths, Communicator& communicator) {
  const int64_t numbers = 2 + static_cast<int64_t>(widths.size());
  const at::Tensor mine = at::empty({1, numbers}, at::kLong);
  mine.data_ptr<int64_t>()[0] = labels.identity.size(0);
  mine.data_ptr<int64_t>()[1] = weights_given(labels);
  std::copy(widths.begin(), widths.end(), mine.data_ptr<int64_t>() + 2);
  const at::Tensor all = at::empty({communicator.size(), numbers}, at::kLong);
  const std::vector<int64_t> one_row(static_cast<size_t>(communicator.size()), 1);
  communicator.all_gather(all, mine, one_row, "loss.rows").wait();
  return all;
}

void check_widths(const at::Tensor& shapes, const std::vector<int64_t>& widths, int rank) {
  for (int64_t r = 0; r < shapes.size(0); ++r) {
    const int64_t* theirs = shapes.const_data_ptr<int64_t>() + r * shapes.size(1) + 2;
    for (size_t i = 0; i < widths.size(); ++i) {
      if (theirs[i] == widths[i]) continue;
      throw CommError(
          fmt::format("loss: rank {} has features of width {}, rank {} of width {}; every rank must run the "
                      "same model",
                      rank, widths[i], r, theirs[i]));
    }
  }
}

// Whether the global batch has weights.
bool agree_on_weights(const at::Tensor& shapes) {
  int64_t with = -1;
  int64_t without = -1;
  for (int64_t r = 0; r < shapes.size(0); ++r) {
    const int64_t given = shapes.const_data_ptr<int64_t>()[r * shapes.size(1) + 1];
    if (given == kYes) with = r;
    if (given == kNo) without = r;
  }
  if (with >= 0 && without >= 0) {
    throw CommError(fmt::format("loss: rank {} has weights of its samples, rank {} has none; give them on every rank",
                                with, without));
  }
  return with >= 0;
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

std::vector<double> check_weights(const at::Tensor& all) {
  const double* data = all.const_data_ptr<double>();
  for (int64_t i = 0; i < all.size(0); ++i) {
    if (data[i] >= 0 && std::isfinite(data[i])) continue;
    throw DataError(
        fmt::format("loss: sample {} of the global batch has the weight {}; give 0 or more, and finite", i, data[i]));
  }
  return {data, data + all.size(0)};
}

}  // namespace

GatheringRows::GatheringRows(const at::Tensor& local, const std::vector<int64_t>& rows, Communicator& communicator,
                             const std::string& name)
    : all_(local) {
  if (communicator.size() == 1) return;
  trace_ = communicator.trace();
  bytes_ = static_cast<int64_t>(local.nbytes());
  std::vector<int64_t> sizes = local.sizes().vec();
  sizes[0] = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  all_ = at::empty(sizes, local.options());
  arrival_ = communicator.all_gather(all_, local, rows, name);
}

at::Tensor GatheringRows::wait() {
  const TraceSpan span(trace_, "gather", {"bytes", bytes_});
  arrival_.wait();
  return std::move(all_);
}

at::Tensor gather_rows(const at::Tensor& local, const std::vector<int64_t>& rows, Communicator& communicator,
                       const std::string& name) {
  return GatheringRows(local, rows, communicator, name).wait();
}

std::vector<double> sum_shares(const std::vector<double>& shares, bool finite, Communicator& communicator) {
  const int64_t width = static_cast<int64_t>(shares.size()) + 1;
  const at::Tensor mine = at::empty({1, width}, at::kDouble);
  std::copy(shares.begin(), shares.end(), mine.data_ptr<double>());
  mine.data_ptr<double>()[width - 1] = finite ? 0 : std::numeric_limits<double>::quiet_NaN();
  const at::Tensor all = at::empty({communicator.size(), width}, at::kDouble);
  communicator.all_gather(all, mine, std::vector<int64_t>(static_cast<size_t>(communicator.size()), 1), "loss.values")
      .wait();
  std::vector<double> values(shares.size(), 0.0);
  for (int r = 0; r < communicator.size(); ++r) {
    const double* row = all.const_data_ptr<double>() + r * width;
    for (size_t i = 0; i < values.size(); ++i) values[i] += row[i] + row[width - 1];
  }
  return values;
}

ColumnRows rows_of_sets(const std::vector<int64_t>& rows, const std::vector<int64_t>& sizes, int rank) {
  ColumnRows columns;
  auto size = sizes.begin();
  for (const int64_t sets : rows) {
    columns.of_rank.push_back(std::accumulate(size, size + sets, int64_t{0}));
    size += sets;
  }
  columns.first = std::accumulate(columns.of_rank.begin(), columns.of_rank.begin() + rank, int64_t{0});
  return columns;
}

GatheringTexts start_texts(const FeaturePair& pair, const std::vector<int64_t>& rows, int64_t gathered_mib,
                           Communicator& communicator) {
  const at::Tensor text = pair.text.contiguous();
  if (!pair.sets) return {GatheringRows(text, rows, communicator, "loss.text"), true, {}};
  const std::vector<int64_t>& own = pair.sets->text;
  const at::Tensor mine = at::empty({static_cast<int64_t>(own.size())}, at::kLong);
  std::copy(own.begin(), own.end(), mine.data_ptr<int64_t>());
  const at::Tensor all = gather_rows(mine, rows, communicator, "loss.words");
  GatheringTexts gathering;
  gathering.sizes.assign(all.const_data_ptr<int64_t>(), all.const_data_ptr<int64_t>() + all.size(0));
  const std::vector<int64_t> words = rows_of_sets(rows, gathering.sizes, communicator.rank()).of_rank;
  const int64_t count = std::accumulate(words.begin(), words.end(), int64_t{0});
  const int64_t bytes = count * text.size(1) * text.element_size();
  gathering.gathered = communicator.size() == 1 || words_are_gathered(bytes, gathered_mib);
  gathering.rows = gathering.gathered ? GatheringRows(text, words, communicator, "loss.text") : GatheringRows(text);
  return gathering;
}

GatheringBatch start_batch(const Labels& labels, const std::vector<int64_t>& widths, Communicator& communicator) {
  const at::Tensor shapes = gather_shapes(labels, widths, communicator);
  check_widths(shapes, widths, communicator.rank());
  GatheringBatch gathering;
  for (int64_t r = 0; r < shapes.size(0); ++r) {
    gathering.rows.push_back(shapes.const_data_ptr<int64_t>()[r * shapes.size(1)]);
  }
  const int64_t columns = std::accumulate(gathering.rows.begin(), gathering.rows.end(), int64_t{0});
  if (columns == 0) throw DataError("loss: the global batch has no rows; give the objective at least one pair");
  if (columns > std::numeric_limits<int32_t>::max()) {
    throw DataError(fmt::format("loss: a global batch of {} rows is beyond 2^31 - 1", columns));
  }
  gathering.identity = GatheringRows(labels.identity.contiguous(), gathering.rows, communicator, "loss.identity");
  gathering.weighted = agree_on_weights(shapes);
  if (!gathering.weighted) return gathering;
  const at::Tensor mine = labels.weight.defined() ? labels.weight.to(at::kDouble).contiguous()
                                                  : at::empty({labels.identity.size(0)}, at::kDouble);
  gathering.weight = GatheringRows(mine, gathering.rows, communicator, "loss.weight");
  return gathering;
}

GlobalBatch finish_batch(GatheringBatch& gathering, int rank) {
  GlobalBatch global;
  global.rows = gathering.rows;
  PairBatch& batch = global.batch;
  batch.rows = global.rows[static_cast<size_t>(rank)];
  batch.columns = std::accumulate(global.rows.begin(), global.rows.end(), int64_t{0});
  batch.offset = std::accumulate(global.rows.begin(), global.rows.begin() + rank, int64_t{0});
  batch.pairs = pair_groups(batch.columns);
  batch.identities = identity_groups(gathering.identity.wait());
  batch.weight = gathering.weighted ? check_weights(gathering.weight.wait())
                                    : std::vector<double>(static_cast<size_t>(batch.columns), 1.0);
  batch.weight_sum = std::accumulate(batch.weight.begin(), batch.weight.end(), 0.0);
  if (batch.weight_sum == 0) batch.weight_sum = 1;
  return global;
}

GlobalBatch gather_batch(const Labels& labels, const std::vector<int64_t>& widths, Communicator& communicator) {
  GatheringBatch gathering = start_batch(labels, widths, communicator);
  return finish_batch(gathering, communicator.rank());
}

}  // namespace muster
