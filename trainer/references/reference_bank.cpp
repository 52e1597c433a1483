#include "trainer/references/reference_bank.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "dataloader/random.h"
#include "launch/error.h"
#include "trainer/encoders/keyed_fill.h"
#include "trainer/losses/global_batch.h"
#include "trainer/references/row_adam.h"

namespace muster {
namespace {

constexpr int64_t kRowsPerTask = 64;
// Of a random direction, in the second and further references of an identity.
constexpr double kApart = 0.25;

// In fixed blocks and a fixed order: the same bits at any number of threads.
template <typename T>
double sum_of_squares(const at::Tensor& rows) {
  const int64_t width = rows.size(1), count = rows.size(0);
  std::vector<double> blocks(static_cast<size_t>((count + kRowsPerTask - 1) / kRowsPerTask), 0.0);
  at::parallel_for(0, static_cast<int64_t>(blocks.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin * kRowsPerTask; row < std::min(end * kRowsPerTask, count); ++row) {
      blocks[static_cast<size_t>(row / kRowsPerTask)] += squared_length(rows.const_data_ptr<T>() + row * width, width);
    }
  });
  return std::accumulate(blocks.begin(), blocks.end(), 0.0);
}

}  // namespace

bool keeps_references(const ReferencesConfig& config) {
  return config.fusion_weight() > 0 || config.guidance_weight() > 0;
}

bool shards_references(const ReferencesConfig& config, int64_t rows, int64_t global_batch, int ranks) {
  if (config.placement() == ReferencesConfig::AUTO) return ranks > 1 && rows > global_batch;
  return config.placement() == ReferencesConfig::SHARDED;
}

void check_references(const ReferencesConfig& config, Checks& checks) {
  checks.at_least(0.0, "references.fusion_weight", config.fusion_weight(), "0: references do not move");
  checks.at_least(0.0, "references.guidance_weight", config.guidance_weight(), "0: features are not guided");
  checks.at_least(0.0, "references.guidance_ramp_epochs", config.guidance_ramp_epochs());
  checks.positive("references.temperature", config.temperature());
  checks.at_least(0.0, "references.rate", config.rate());
  for (const auto& [name, beta] : {std::pair("beta1", config.beta1()), std::pair("beta2", config.beta2())}) {
    checks.require(beta >= 0 && beta < 1, fmt::format("references.{}", name), beta, "0 or more, below 1");
  }
  checks.positive("references.epsilon", config.epsilon());
  checks.require(config.per_identity() >= 1 && config.per_identity() <= 1024, "references.per_identity",
                 config.per_identity(), "1 to 1024");
  if ((config.init() == ReferencesConfig::RUN) != !config.init_run().empty()) {
    checks.add("references.init RUN and references.init_run, the run's folder, go together: give both or none");
  }
  if (config.pair().empty()) {
    checks.add("references.pair is empty: give the name of a pair of features, or leave it out for \"global\"");
  }
}

ReferenceBank::ReferenceBank(const ReferencesConfig& config, std::vector<int64_t> identities, int64_t width,
                             uint64_t seed, int64_t global_batch, Communicator& communicator, at::ScalarType dtype,
                             const TileShape& shape, const LossDevice& device)
    : config_(config),
      order_(std::move(identities), seed, config.per_identity()),
      width_(width),
      seed_(seed),
      communicator_(communicator),
      shape_(shape),
      device_(device),
      sharded_(shards_references(config, order_.size(), global_batch, communicator.size())) {
  int64_t own = order_.size();
  if (sharded_) {
    const std::vector<int64_t> ranges = split_rows(order_.size(), communicator.size());
    first_row_ = std::accumulate(ranges.begin(), ranges.begin() + communicator.rank(), int64_t{0});
    own = ranges[static_cast<size_t>(communicator.rank())];
  }
  rows_ = at::zeros({own, width}, dtype);
  if (device_.device().is_cuda()) rows_ = rows_.pin_memory();  // each evaluation sends them
  exp_avg_ = at::zeros_like(rows_);
  exp_avg_sq_ = at::zeros_like(rows_);
  steps_ = at::zeros({own}, at::kLong);
  identity_ = at::empty({own}, at::kLong);
  std::copy_n(order_.identities().begin() + first_row_, own, identity_.data_ptr<int64_t>());
  slot_ = at::empty({own}, at::kLong);
  for (int64_t row = 0; row < own; ++row) slot_.data_ptr<int64_t>()[row] = slot_of(row);
  mean_image_ = at::zeros({width}, dtype);
  mean_text_ = at::zeros({width}, dtype);
  mean_updates_ = at::zeros({1}, at::kLong);
}

std::vector<float> ReferenceBank::random_values(int64_t own_row) const {
  std::vector<float> values(static_cast<size_t>(width_));
  const auto identity = static_cast<uint64_t>(identity_.const_data_ptr<int64_t>()[own_row]);
  const int64_t begin = slot_of(own_row) * ((width_ + kFillBlock - 1) / kFillBlock) * kFillBlock;
  fill_normal({seed_, identity, static_cast<uint32_t>(Purpose::kReferenceValues), begin}, 1.0F, values.data(), width_);
  return values;
}

template <typename T>
void ReferenceBank::draw_row(int64_t own_row) {
  const std::vector<float> values = random_values(own_row);
  T* row = rows_.data_ptr<T>() + own_row * width_;
  std::copy(values.begin(), values.end(), row);
  normalise_row(row, width_);
}

void ReferenceBank::initialise_normal() {
  at::parallel_for(0, rows_.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      rows_.scalar_type() == at::kDouble ? draw_row<double>(i) : draw_row<float>(i);
    }
  });
}

// References that are equal would have equal gradients for ever.
template <typename T>
void ReferenceBank::move_apart(int64_t own_row) {
  const std::vector<float> values = random_values(own_row);
  std::vector<T> random(values.begin(), values.end());
  normalise_row(random.data(), width_);
  T* row = rows_.data_ptr<T>() + own_row * width_;
  for (int64_t c = 0; c < width_; ++c) row[c] += static_cast<T>(kApart) * random[static_cast<size_t>(c)];
  normalise_row(row, width_);
}

// Rows to length 1; random ones where there is nothing. Of how many identities.
template <typename T>
int64_t ReferenceBank::normalise_rows() {
  int64_t drawn = 0;
  for (int64_t i = 0; i < rows_.size(0); ++i) {
    if (normalise_row(rows_.data_ptr<T>() + i * width_, width_)) {
      if (slot_of(i) > 0) move_apart<T>(i);
      continue;
    }
    draw_row<T>(i);
    drawn += slot_of(i) == 0 ? 1 : 0;
  }
  return drawn;
}

void ReferenceBank::begin_sums() {
  rows_.zero_();
}

void ReferenceBank::add_to_sums(const at::Tensor& identity, const at::Tensor& features) {
  const at::NoGradGuard no_grad;
  at::Tensor all_identities = identity.contiguous(), all_features = features.to(rows_.scalar_type()).contiguous();
  if (sharded_) {
    std::vector<int64_t> counts(static_cast<size_t>(communicator_.size()));
    const at::Tensor mine = at::scalar_tensor(identity.size(0), at::kLong).view({1});
    const at::Tensor sizes = at::empty({communicator_.size()}, at::kLong);
    communicator_.all_gather(sizes, mine, std::vector<int64_t>(counts.size(), 1), "references.counts").wait();
    std::copy_n(sizes.const_data_ptr<int64_t>(), counts.size(), counts.begin());
    all_identities = gather_rows(all_identities, counts, communicator_, "references.identity");
    all_features = gather_rows(all_features, counts, communicator_, "references.features");
  }
  const std::vector<ReferenceRange> own = own_rows_of(all_identities);
  for (size_t i = 0; i < own.size(); ++i) {
    for (int64_t row = own[i].begin; row < own[i].end; ++row) {
      rows_.select(0, row).add_(all_features.select(0, static_cast<int64_t>(i)));
    }
  }
}

int64_t ReferenceBank::end_sums() {
  const at::NoGradGuard no_grad;
  if (!sharded_) communicator_.all_reduce(rows_, ReduceOp::kSum, "references.sums of features").wait();
  const at::Tensor drawn = at::scalar_tensor(
      rows_.scalar_type() == at::kDouble ? normalise_rows<double>() : normalise_rows<float>(), at::kLong);
  if (sharded_) communicator_.all_reduce(drawn, ReduceOp::kSum, "references.drawn").wait();
  return drawn.item<int64_t>();
}

// Of each identity: its rows that this rank has, counted from its first; empty if it has none.
std::vector<ReferenceRange> ReferenceBank::own_rows_of(const at::Tensor& identity) const {
  std::vector<ReferenceRange> rows;
  const int64_t* ids = identity.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < identity.size(0); ++i) {
    const int64_t row = order_.row_of(ids[i]);
    if (row < 0) {
      throw DataError(fmt::format("references: identity {} has none; they were made for {} other identities", ids[i],
                                  order_.identity_count()));
    }
    const int64_t begin = std::max<int64_t>(0, row - first_row_);
    rows.push_back({begin, std::max(begin, std::min(rows_.size(0), row + order_.per_identity() - first_row_))});
  }
  return rows;
}

size_t ReferenceBank::find_pair(const Features& features) const {
  std::string names;
  for (size_t i = 0; i < features.pairs.size(); ++i) {
    if (features.pairs[i].name == config_.pair()) return i;
    names += (i == 0 ? "" : ", ") + features.pairs[i].name;
  }
  throw ConfigError(fmt::format("references.pair is \"{}\", but the features have only {}; give one of those",
                                config_.pair(), names));
}

double ReferenceBank::finish_gradient() {
  gradient_sum_.wait();
  gradient_sum_ = Work();
  if (!has_gradient_) return 0;
  const at::Tensor squares = at::scalar_tensor(
      gradient_.scalar_type() == at::kDouble ? sum_of_squares<double>(gradient_) : sum_of_squares<float>(gradient_),
      at::kDouble);
  if (sharded_) communicator_.all_reduce(squares, ReduceOp::kSum, "references.norm").wait();
  return squares.item<double>();
}

void ReferenceBank::step(double rate_factor, double gradient_scale) {
  if (!evaluated_) throw std::logic_error("ReferenceBank::step: there is no gradient");
  evaluated_ = false;
  update_means();
  if (!has_gradient_) return;
  rows_.scalar_type() == at::kDouble ? step_as<double>(rate_factor, gradient_scale)
                                     : step_as<float>(rate_factor, gradient_scale);
  has_gradient_ = false;
}

template <typename T>
void ReferenceBank::step_as(double rate_factor, double gradient_scale) {
  const AdamNumbers numbers{config_.rate() * rate_factor, config_.beta1(), config_.beta2(), config_.epsilon()};
  const bool compact = config_.negatives() == ReferencesConfig::BATCH;
  const bool all = !compact || config_.update() == ReferencesConfig::DENSE;
  const T* gradient = gradient_.const_data_ptr<T>();
  const auto update = [&](int64_t row, const T* row_gradient) {
    const int64_t at = row * width_;
    adam_on_unit_row<T>({rows_.data_ptr<T>() + at, exp_avg_.data_ptr<T>() + at, exp_avg_sq_.data_ptr<T>() + at,
                         steps_.data_ptr<int64_t>() + row, row_gradient},
                        width_, numbers, gradient_scale);
  };
  const int64_t count = all ? rows_.size(0) : static_cast<int64_t>(active_.size());
  at::parallel_for(0, count, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (!compact) {
        update(i, gradient + i * width_);
      } else if (!all) {
        update(active_[static_cast<size_t>(i)], gradient + i * width_);
      } else {
        const auto found = std::lower_bound(active_.begin(), active_.end(), i);
        const bool takes_part = found != active_.end() && *found == i;
        update(i, takes_part ? gradient + (found - active_.begin()) * width_ : nullptr);
      }
    }
  });
}

at::Tensor ReferenceBank::gradient() const {
  if (!has_gradient_) return at::zeros_like(rows_);
  if (config_.negatives() == ReferencesConfig::BANK) return gradient_;
  const at::Tensor whole = at::zeros_like(rows_);
  for (size_t i = 0; i < active_.size(); ++i) {
    whole.select(0, active_[i]).copy_(gradient_.select(0, static_cast<int64_t>(i)));
  }
  return whole;
}

NamedTensors ReferenceBank::row_state() const {
  NamedTensors state = {
      {"rows", rows_}, {"exp_avg", exp_avg_}, {"exp_avg_sq", exp_avg_sq_}, {"identity", identity_}, {"step", steps_}};
  if (order_.per_identity() > 1) state.emplace_back("slot", slot_);
  return state;
}

NamedTensors ReferenceBank::means() const {
  return {{"mean.image", mean_image_}, {"mean.text", mean_text_}, {"mean.updates", mean_updates_}};
}

int64_t ReferenceBank::take_rows(const NamedTensors& state) {
  const at::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> from(state.begin(), state.end());
  const at::Tensor& identity = from.at("identity");
  if (from.at("rows").size(1) != width_) throw std::logic_error("ReferenceBank::take_rows: rows of another width");
  const auto slots = from.find("slot");
  int64_t taken = 0;
  for (int64_t i = 0; i < identity.size(0); ++i) {
    const int64_t first = order_.row_of(identity.const_data_ptr<int64_t>()[i]);
    const int64_t slot = slots == from.end() ? 0 : slots->second.const_data_ptr<int64_t>()[i];
    const int64_t own = first + slot - first_row_;
    if (first < 0 || slot < 0 || slot >= order_.per_identity() || own < 0 || own >= rows_.size(0)) continue;
    for (const auto& [name, tensor] : row_state()) {
      if (from.count(name) != 0) tensor.select(0, own).copy_(from.at(name).select(0, i));
    }
    ++taken;
  }
  return taken;
}

void ReferenceBank::take_means(const NamedTensors& state) {
  const std::map<std::string, at::Tensor> from(state.begin(), state.end());
  mean_image_.copy_(from.at("mean.image"));
  mean_text_.copy_(from.at("mean.text"));
  mean_updates_.copy_(from.at("mean.updates"));
}

std::string ReferenceBank::describe() const {
  return fmt::format(
      "references: {} identities{} of width {}, {} ({} rows on rank {}), fusion {:g}, guidance {:g} over {:g} epochs, "
      "temperature {:g}, negatives {}, init {}, update {}, rate {:g}",
      order_.identity_count(), order_.per_identity() > 1 ? fmt::format(" x {}", order_.per_identity()) : "", width_,
      sharded_ ? "sharded" : "replicated", rows_.size(0), communicator_.rank(), config_.fusion_weight(),
      config_.guidance_weight(), config_.guidance_ramp_epochs(), config_.temperature(),
      ReferencesConfig::Negatives_Name(config_.negatives()), ReferencesConfig::Init_Name(config_.init()),
      ReferencesConfig::Update_Name(config_.update()), config_.rate());
}

}  // namespace muster
