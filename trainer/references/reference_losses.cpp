// What the bank does with a batch: its losses, the references of the batch's samples, and gradients for those.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "trainer/losses/device_engine.h"
#include "trainer/losses/global_batch.h"
#include "trainer/losses/tile_engine.h"
#include "trainer/references/reference_bank.h"
#include "trainer/references/reference_cross_entropy.h"

namespace muster {
namespace {

// The running means forget as fast as 1 / 100 of a batch.
constexpr double kLeastMeanRate = 0.01;

// The sum of the unit rows, [width] in double.
at::Tensor sum_of_units(const at::Tensor& rows) {
  const at::Tensor exact = rows.to(at::kDouble);
  return (exact / at::linalg_vector_norm(exact, 2, {1}, true).clamp_min(1e-12)).sum(0).cpu();
}

std::vector<int64_t> joined(const std::vector<std::vector<int64_t>>& parts) {
  std::vector<int64_t> all;
  for (const std::vector<int64_t>& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::vector<int64_t> sizes(const std::vector<std::vector<int64_t>>& parts) {
  std::vector<int64_t> all;
  for (const std::vector<int64_t>& part : parts) all.push_back(static_cast<int64_t>(part.size()));
  return all;
}

// Statistics of the samples over the ranks' ranges of references.
template <typename T>
void combine(ReferenceCrossEntropy<T>& loss, Communicator& communicator) {
  const auto samples = static_cast<int64_t>(loss.max().size());
  const at::Tensor maxima = at::cat({at::tensor(loss.max()), at::tensor(loss.own_max())});
  communicator.all_reduce(maxima, ReduceOp::kMax, "references.maxima").wait();
  const double* max = maxima.const_data_ptr<double>();
  loss.rebase({max, max + samples}, {max + samples, max + 2 * samples});
  const at::Tensor sums = at::cat({at::tensor(loss.sum()), at::tensor(loss.own_sum())});
  communicator.all_reduce(sums, ReduceOp::kSum, "references.sums").wait();
  const double* data = sums.const_data_ptr<double>();
  std::copy(data, data + samples, loss.sum().begin());
  std::copy(data + samples, data + 2 * samples, loss.own_sum().begin());
}

}  // namespace

void ReferenceBank::choose_active(const std::vector<ReferenceRange>& rows_of_samples) {
  active_.clear();
  for (const ReferenceRange& rows : rows_of_samples) {
    for (int64_t row = rows.begin; row < rows.end; ++row) active_.push_back(row);
  }
  std::sort(active_.begin(), active_.end());
  active_.erase(std::unique(active_.begin(), active_.end()), active_.end());
}

double ReferenceBank::guidance_weight(double epoch) const {
  const double ramp = config_.guidance_ramp_epochs();
  return config_.guidance_weight() * (ramp > 0 ? std::min(1.0, epoch / ramp) : 1.0);
}

at::Tensor ReferenceBank::batch_means(const FeaturePair& features, int64_t global_rows) const {
  const at::Tensor sums = at::stack({sum_of_units(features.image), sum_of_units(features.text)});
  communicator_.all_reduce(sums, ReduceOp::kSum, "references.feature_means").wait();
  return (sums / static_cast<double>(global_rows)).to(rows_.scalar_type());
}

void ReferenceBank::update_means() {
  const double rate = std::max(kLeastMeanRate, 1.0 / static_cast<double>(mean_updates_.item<int64_t>() + 1));
  mean_image_.add_(batch_means_.select(0, 0) - mean_image_, rate);
  mean_text_.add_(batch_means_.select(0, 1) - mean_text_, rate);
  mean_updates_.add_(1);
}

ReferenceResult ReferenceBank::evaluate(const FeaturePair& features, const Labels& labels, const Progress& progress) {
  const at::NoGradGuard no_grad;
  if (features.image.size(1) != width_) throw std::logic_error("ReferenceBank::evaluate: features of another width");
  const double guidance = guidance_weight(progress.epoch);
  return rows_.scalar_type() == at::kDouble ? evaluate_as<double>(features, labels, guidance)
                                            : evaluate_as<float>(features, labels, guidance);
}

template <typename T>
ReferenceResult ReferenceBank::evaluate_as(const FeaturePair& features, const Labels& labels, double guidance) {
  const TraceSpan span(communicator_.trace(), "references");
  const GlobalBatch global = gather_batch(labels, {width_}, communicator_);
  const PairBatch& batch = global.batch;
  batch_means_ = batch_means(features, batch.columns);

  // Samples: a rank's images, then its captions; with a sharded bank those of all ranks, one after another.
  std::vector<int64_t> samples_of_rank;
  for (const int64_t rows : global.rows) samples_of_rank.push_back(2 * rows);
  const at::Tensor own = at::cat({features.image, features.text}).contiguous();
  const at::Tensor samples = sharded_ ? gather_rows(own, samples_of_rank, communicator_, "references.features") : own;
  const int64_t first = sharded_ ? 2 * batch.offset : 0;

  const at::Tensor identities = gather_rows(labels.identity.contiguous(), global.rows, communicator_, "references.ids");
  const std::vector<ReferenceRange> rows_of_samples = own_rows_of(identities);
  batch_identities_ = identities;
  batch_rows_ = global.rows;
  const bool compact = config_.negatives() == ReferencesConfig::BATCH;
  at::Tensor columns = rows_;
  if (compact) {
    choose_active(rows_of_samples);
    columns = rows_.index_select(0, at::tensor(active_));
  }
  std::vector<ReferenceRange> own_columns;
  std::vector<double> factor;
  const auto add_samples = [&](int64_t begin, int64_t count) {
    for (int64_t i = begin; i < begin + count; ++i) {
      ReferenceRange rows = rows_of_samples[static_cast<size_t>(i)];
      if (compact) {
        const auto place = std::lower_bound(active_.begin(), active_.end(), rows.begin) - active_.begin();
        rows = {place, place + rows.end - rows.begin};
      }
      own_columns.push_back(rows);
      factor.push_back(batch.weight[static_cast<size_t>(i)] / (2 * batch.weight_sum));
    }
  };
  for (int64_t r = 0, begin = 0; r < communicator_.size(); begin += global.rows[static_cast<size_t>(r++)]) {
    if (!sharded_ && r != communicator_.rank()) continue;
    for (int side = 0; side < 2; ++side) add_samples(begin, global.rows[static_cast<size_t>(r)]);
  }

  ReferenceCrossEntropy<T> loss(std::move(own_columns), std::move(factor), 1 / config_.temperature(), columns.size(0));
  if (device_.tiles == nullptr) {
    TileEngine<T> engine(samples, columns, shape_);
    return evaluate_with(engine, loss, own, samples_of_rank, first, columns, guidance);
  }
  const at::Tensor sent = columns.to(samples.device(), /*non_blocking=*/true);
  const bool half = device_.half_products && std::is_same_v<T, float>;
  DeviceEngine<T> engine(samples, sent, first, shape_, *device_.tiles, half);
  return evaluate_with(engine, loss, own, samples_of_rank, first, sent, guidance);
}

// Columns and `own` are where the engine computes; the samples' rows from `first` on are this rank's own.
template <typename T, typename Engine>
ReferenceResult ReferenceBank::evaluate_with(Engine& engine, ReferenceCrossEntropy<T>& loss, const at::Tensor& own,
                                             const std::vector<int64_t>& samples_of_rank, int64_t first,
                                             const at::Tensor& columns, double guidance) {
  engine.fold({&loss});
  if (sharded_) combine(loss, communicator_);

  ReferenceResult result;
  result.value = sum_shares({loss.value(first, own.size(0))}, engine.all_finite(), communicator_).front();
  result.weighted = result.value * (config_.fusion_weight() + guidance);

  at::Tensor d_samples, d_columns;
  if (guidance > 0) {
    const int64_t samples = std::accumulate(samples_of_rank.begin(), samples_of_rank.end(), int64_t{0});
    d_samples = at::empty({sharded_ ? samples : own.size(0), width_}, own.options());
  }
  if (config_.fusion_weight() > 0) {
    make_gradient(columns.size(0));
    d_columns = columns.is_cpu() ? gradient_ : at::empty_like(columns);
  }
  if (d_samples.defined() || d_columns.defined()) engine.weigh({&loss}, d_samples, d_columns);
  if (guidance > 0) {
    at::Tensor d_own = d_samples;
    if (sharded_) {
      d_own = communicator_.size() == 1 ? d_samples : at::empty_like(own);
      communicator_.reduce_scatter(d_own, d_samples, samples_of_rank, "references.feature_gradient").wait();
    }
    engine.rows_backward(first, d_own, nullptr);
    d_own.mul_(guidance);
    result.d_image = d_own.narrow(0, 0, own.size(0) / 2);
    result.d_text = d_own.narrow(0, own.size(0) / 2, own.size(0) / 2);
  }
  if (config_.fusion_weight() > 0) {
    engine.columns_backward(0, d_columns, nullptr);
    d_columns.mul_(config_.fusion_weight());
    if (!d_columns.is_same(gradient_)) gradient_.copy_(d_columns);
    if (!sharded_) gradient_sum_ = communicator_.all_reduce(gradient_, ReduceOp::kSum, "references.gradient");
  }
  has_gradient_ = config_.fusion_weight() > 0;
  evaluated_ = true;
  return result;
}

void ReferenceBank::make_gradient(int64_t rows) {
  if (!gradient_.defined() || gradient_.size(0) != rows) gradient_ = at::empty({rows, width_}, rows_.options());
}

ReferenceBank::RowTravel ReferenceBank::row_travel() const {
  if (!evaluated_) throw std::logic_error("ReferenceBank: rows of a batch are there after evaluate()");
  const int ranks = communicator_.size(), rank = communicator_.rank();
  RowTravel travel;
  travel.asked_by.resize(static_cast<size_t>(ranks));
  travel.places_at.resize(static_cast<size_t>(ranks));
  std::vector<int64_t> ends = sharded_ ? split_rows(order_.size(), ranks) : std::vector<int64_t>{order_.size()};
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  const int64_t* ids = batch_identities_.const_data_ptr<int64_t>();
  for (int r = 0; r < ranks; ++r) {
    const int64_t count = batch_rows_[static_cast<size_t>(r)];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = order_.row_of(ids[i]);
      const auto owner = std::upper_bound(ends.begin(), ends.end(), row) - ends.begin();
      if (!sharded_ || owner == rank) travel.asked_by[static_cast<size_t>(r)].push_back(row - first_row_);
      if (r == rank && sharded_) travel.places_at[static_cast<size_t>(owner)].push_back(i);
    }
    ids += count;
  }
  return travel;
}

at::Tensor ReferenceBank::rows_of_batch() {
  const at::NoGradGuard no_grad;
  const RowTravel travel = row_travel();
  if (!sharded_) return rows_.index_select(0, at::tensor(travel.asked_by[static_cast<size_t>(communicator_.rank())]));
  const at::Tensor sent = rows_.index_select(0, at::tensor(joined(travel.asked_by)));
  const at::Tensor received =
      at::empty({batch_rows_[static_cast<size_t>(communicator_.rank())], width_}, rows_.options());
  communicator_.all_to_all(received, sent, sizes(travel.asked_by), sizes(travel.places_at), "references.rows").wait();
  const at::Tensor in_order = at::empty_like(received);
  in_order.index_copy_(0, at::tensor(joined(travel.places_at)), received);
  return in_order;
}

void ReferenceBank::add_row_gradients(const at::Tensor& d_rows) {
  const at::NoGradGuard no_grad;
  const RowTravel travel = row_travel();
  gradient_sum_.wait();  // before it, the sum over ranks would count these rows once a rank
  gradient_sum_ = Work();
  const std::vector<int64_t> asked = joined(travel.asked_by);
  const at::Tensor received = at::empty({static_cast<int64_t>(asked.size()), width_}, rows_.options());
  if (sharded_) {
    const at::Tensor sent = d_rows.index_select(0, at::tensor(joined(travel.places_at)));
    communicator_
        .all_to_all(received, sent, sizes(travel.places_at), sizes(travel.asked_by), "references.row_gradients")
        .wait();
  } else {
    communicator_.all_gather(received, d_rows.contiguous(), sizes(travel.asked_by), "references.row_gradients").wait();
  }
  const bool compact = config_.negatives() == ReferencesConfig::BATCH;
  if (!has_gradient_) {
    make_gradient(compact ? static_cast<int64_t>(active_.size()) : rows_.size(0));
    gradient_.zero_();
    has_gradient_ = true;
  }
  // One after another in the order of the global batch: the same bits on every replica and in every run.
  for (size_t i = 0; i < asked.size(); ++i) {
    const int64_t place =
        compact ? std::lower_bound(active_.begin(), active_.end(), asked[i]) - active_.begin() : asked[i];
    gradient_.select(0, place).add_(received.select(0, static_cast<int64_t>(i)));
  }
}

}  // namespace muster
