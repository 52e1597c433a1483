#include "trainer/clean_pairs.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "dataloader/loader.h"
#include "dataloader/random.h"
#include "launch/error.h"
#include "launch/log.h"
#include "trainer/device_loader.h"
#include "trainer/evaluation.h"
#include "trainer/gaussian_mixture.h"

namespace muster {
namespace {

constexpr double kClean = 0.5;
constexpr size_t kOneIn = 100;

double share_of(const std::vector<bool>& flags) {
  return static_cast<double>(std::count(flags.begin(), flags.end(), true)) / static_cast<double>(flags.size());
}

}  // namespace

bool divides_pairs(const TrainConfig& train) {
  return train.clean_pairs().iterations() > 0;
}

std::vector<bool> find_clean(std::vector<double> losses, const CleanPairsConfig& config) {
  const auto finite = [](double loss) { return std::isfinite(loss); };
  if (!std::all_of(losses.begin(), losses.end(), finite)) {
    throw NonFiniteError(
        "train.clean_pairs: a pair's loss is not finite, as the model's features are not; lower train.optimizer.rate "
        "or set train.clip_norm, and train anew or from a checkpoint");
  }
  const auto [least, most] = std::minmax_element(losses.begin(), losses.end());
  const double first = *least, range = *most - *least;
  if (range == 0) return std::vector<bool>(losses.size(), true);
  for (double& loss : losses) loss = (loss - first) / range;
  const GaussianMixture mixture =
      fit_gaussian_mixture(losses, {config.iterations(), config.tolerance(), config.variance_floor()});
  std::vector<double> probabilities;
  for (const double loss : losses) probabilities.push_back(mixture.probability_of_first(loss));
  double bound = kClean;
  std::vector<double> sorted = probabilities;
  std::sort(sorted.begin(), sorted.end());
  if (sorted.front() > bound) bound = sorted[sorted.size() / kOneIn];
  std::vector<bool> clean;
  for (const double probability : probabilities) clean.push_back(probability > bound);
  return clean;
}

std::vector<bool> agree_on_clean(const std::vector<std::vector<bool>>& terms, uint64_t seed, int64_t first_position) {
  std::vector<bool> counts;
  for (size_t i = 0; i < terms.front().size(); ++i) {
    const auto clean = [&](const std::vector<bool>& term) { return term[i]; };
    const bool all = std::all_of(terms.begin(), terms.end(), clean);
    const bool any = std::any_of(terms.begin(), terms.end(), clean);
    const auto position = static_cast<uint64_t>(first_position) + i;
    counts.push_back(all || (any && KeyedRandom(seed, position, Purpose::kCleanPairs).next_below(2) == 1));
  }
  return counts;
}

PairDivision::PairDivision(const RunSettings& settings, const TrainingStores& stores, const Tokenizer& tokenizer,
                           Model& model, LossObjective& objective, Communicator& communicator, int64_t steps_per_epoch)
    : settings_(settings),
      stores_(stores),
      tokenizer_(tokenizer),
      model_(model),
      objective_(objective),
      communicator_(communicator),
      steps_(steps_per_epoch),
      pairs_(steps_per_epoch * settings.train.global_batch()) {}

at::Tensor PairDivision::measure(int64_t epoch) {
  const at::NoGradGuard no_grad;
  const TrainConfig& train = settings_.train;
  Loader loader(stores_, settings_.data, input_size(settings_.model), tokenizer_,
                {train.seed(),
                 train.global_batch(),
                 {communicator_.rank(), communicator_.size()},
                 epoch * steps_,
                 (epoch + 1) * steps_});
  DeviceLoader batches(loader, model_.device(), steps_);
  const auto terms = static_cast<int64_t>(objective_.term_names().size());
  const at::Tensor losses = at::zeros({terms, pairs_}, at::kDouble);
  model_.eval();
  for (int64_t step = 0; step < steps_; ++step) {
    const Batch batch = batches.next();
    const LossResult result = objective_.evaluate(
        model_.forward(batch, train.seed()), {batch.identity, batch.image_id, batch.position, {}}, {}, communicator_);
    for (int64_t term = 0; term < terms; ++term) {
      double* of_term = losses.mutable_data_ptr<double>() + term * pairs_;
      for (int64_t row = 0; row < batch.size(); ++row) {
        const int64_t place = batch.position.const_data_ptr<int64_t>()[row] - epoch * pairs_;
        // The value says whether all ranks' features are finite.
        of_term[place] = std::isfinite(result.value)
                             ? result.samples[static_cast<size_t>(term)][static_cast<size_t>(row)]
                             : result.value;
      }
    }
  }
  model_.train();
  communicator_.all_reduce(losses, ReduceOp::kSum, "clean_pairs.losses").wait();
  return losses;
}

bool PairDivision::begin_epoch(int64_t epoch) {
  if (epoch == epoch_) return false;
  const at::Tensor losses = measure(epoch);
  std::vector<std::vector<bool>> terms;
  std::vector<std::string> shares;
  for (int64_t term = 0; term < losses.size(0); ++term) {
    const double* of_term = losses.const_data_ptr<double>() + term * pairs_;
    terms.push_back(find_clean({of_term, of_term + pairs_}, settings_.train.clean_pairs()));
    shares.push_back(fmt::format("{:.1f} % by {}", 100 * share_of(terms.back()),
                                 objective_.term_names()[static_cast<size_t>(term)]));
  }
  clean_ = agree_on_clean(terms, settings_.train.seed(), epoch * pairs_);
  epoch_ = epoch;
  if (communicator_.rank() == 0) {
    log_info(fmt::format("epoch {}: {:.1f} % of {} pairs count as clean ({})", epoch + 1, 100 * share_of(clean_),
                         pairs_, fmt::join(shares, ", ")));
  }
  return true;
}

at::Tensor PairDivision::weights(const at::Tensor& positions) const {
  at::Tensor weights = at::empty(positions.sizes(), at::kDouble);
  for (int64_t row = 0; row < positions.size(0); ++row) {
    const int64_t place = positions.const_data_ptr<int64_t>()[row] - epoch_ * pairs_;
    weights.mutable_data_ptr<double>()[row] = clean_.at(static_cast<size_t>(place)) ? 1 : 0;
  }
  return weights;
}

CleanPairs PairDivision::state() const {
  CleanPairs state;
  state.set_epoch(epoch_);
  std::string bits((clean_.size() + 7) / 8, '\0');
  for (size_t i = 0; i < clean_.size(); ++i) {
    if (clean_[i]) bits[i / 8] = static_cast<char>(bits[i / 8] | (1 << (i % 8)));
  }
  state.set_clean(bits);
  return state;
}

void PairDivision::resume(const CleanPairs& state) {
  const auto pairs = static_cast<size_t>(pairs_);
  if (state.clean().size() != (pairs + 7) / 8) {
    throw DataError(
        fmt::format("the checkpoint's clean pairs take {} bytes, {} pairs an epoch need {}: it is of "
                    "another run; give another --run",
                    state.clean().size(), pairs, (pairs + 7) / 8));
  }
  epoch_ = state.epoch();
  clean_.clear();
  for (size_t i = 0; i < pairs; ++i) clean_.push_back((state.clean()[i / 8] >> (i % 8) & 1) != 0);
}

}  // namespace muster
