#include "trainer/losses/objective.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <stdexcept>

#include "launch/error.h"
#include "trainer/losses/global_batch.h"
#include "trainer/losses/loss_term.h"
#include "trainer/losses/objective_config.h"
#include "trainer/losses/pair_evaluation.h"
#include "trainer/losses/shared_number.h"

namespace muster {
namespace {

[[noreturn]] void broken(const std::string& what) {
  throw std::logic_error("LossObjective::evaluate: " + what);
}

int64_t sum_of(const std::vector<int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
}

void check_texts(const Features& texts, const Labels& labels, at::Device device) {
  if (texts.pairs.empty()) broken("no pair of features");
  if (!texts.pairs.front().text.defined()) broken("undefined tensor");
  const at::ScalarType dtype = texts.pairs.front().text.scalar_type();
  if (dtype != at::kFloat && dtype != at::kDouble) broken("features are not float32 or float64");
  if (!labels.identity.defined() || labels.identity.scalar_type() != at::kLong || labels.identity.dim() != 1) {
    broken("identity is not [b] int64");
  }
  if (labels.weight.defined() && (labels.weight.sizes() != labels.identity.sizes() ||
                                  !labels.weight.is_floating_point() || !labels.weight.is_cpu())) {
    broken("weight is not [b] floating-point on the CPU");
  }
  for (const FeaturePair& pair : texts.pairs) {
    if (!pair.text.defined()) broken("undefined tensor");
    if (pair.text.dim() != 2 || pair.text.size(1) == 0) broken("text is not [b, d]");
    if (pair.text.scalar_type() != dtype) broken("features differ in dtype");
    if (pair.text.device() != device) broken("features are not on " + device.str());
    const int64_t rows = pair.sets ? static_cast<int64_t>(pair.sets->text.size()) : pair.text.size(0);
    if (labels.identity.size(0) != rows) broken("identity and features differ in rows");
    if (pair.sets && sum_of(pair.sets->text) != pair.text.size(0)) broken("sets and text differ in rows");
    if (pair.sets && !device.is_cpu()) broken("sets are not on the CPU");
  }
}

void check_images(const Features& local) {
  for (const FeaturePair& pair : local.pairs) {
    if (!pair.image.defined()) broken("undefined tensor");
    if (pair.sets) {
      if (pair.image.dim() != 2 || pair.image.size(1) != pair.text.size(1)) broken("image is not [n, d]");
      if (pair.sets->image.size() != pair.sets->text.size()) broken("sets differ in samples");
      if (sum_of(pair.sets->image) != pair.image.size(0)) broken("sets and image differ in rows");
    } else if (pair.image.sizes() != pair.text.sizes()) {
      broken("image and text are not both [b, d]");
    }
    if (pair.image.scalar_type() != pair.text.scalar_type()) broken("features differ in dtype");
    if (pair.image.device() != pair.text.device()) broken("image and text are not on one device");
  }
}

}  // namespace

class LossObjective::Impl {
 public:
  Impl(const Objective& config, const TileShape& shape, const LossDevice& device)
      : config_(config),
        shape_(shape),
        device_(device),
        terms_(describe_terms(config)),
        names_(name_terms(config)),
        log_scale_(std::log(config.logit_scale().init()),
                   config.logit_scale().learnable() && any_uses(&LossTerm::uses_logit_scale)),
        logit_bias_(config.logit_bias().init(), config.logit_bias().learnable() && uses_logit_bias()) {
    if (log_scale_.leaf().defined()) parameters_.emplace_back("objective.log_scale", log_scale_.leaf());
    if (logit_bias_.leaf().defined()) parameters_.emplace_back("objective.logit_bias", logit_bias_.leaf());
  }

  GatheringBatch begin(const Features& texts, const Labels& labels, Communicator& communicator) const {
    const at::NoGradGuard no_grad;
    check_texts(texts, labels, device_.device());
    const std::vector<PairTerms> by_pair = terms_by_pair(texts);
    std::vector<int64_t> widths;
    for (const PairTerms& terms : by_pair) widths.push_back(texts.pairs[terms.pair].text.size(1));
    GatheringBatch gathering = start_batch(labels, widths, communicator);
    for (const PairTerms& terms : by_pair) {
      if (!terms.has_scores()) continue;
      const int64_t gathered_mib = config_.alignment().gathered_mib();
      gathering.texts.push_back(start_texts(texts.pairs[terms.pair], gathering.rows, gathered_mib, communicator));
    }
    return gathering;
  }

  LossResult evaluate(const Features& local, const Progress& progress, GatheringBatch& gathering,
                      Communicator& communicator) const {
    const at::NoGradGuard no_grad;
    check_images(local);
    return local.pairs.front().image.scalar_type() == at::kDouble
               ? evaluate_as<double>(local, progress, gathering, communicator)
               : evaluate_as<float>(local, progress, gathering, communicator);
  }

  bool uses_logit_bias() const { return any_uses(&LossTerm::uses_logit_bias); }
  SharedNumber& log_scale() { return log_scale_; }
  SharedNumber& logit_bias() { return logit_bias_; }
  void clamp() { log_scale_.clamp(0.0, std::log(config_.logit_scale().max())); }
  const std::vector<std::pair<std::string, at::Tensor>>& parameters() const { return parameters_; }
  const std::vector<std::string>& names() const { return names_; }
  bool counts_at(size_t term, int64_t step) const { return counts(config_of(term), step); }
  double collapsed_value(size_t term, int64_t batch) const {
    const LossTerm& described = terms_.at(term);
    return described.collapsed * (described.collapsed_sums ? static_cast<double>(batch) : 1.0);
  }

 private:
  // The terms on one pair of the features: those over pairs of an image and a text, and those of whole matrices; and
  // those of other pairs that it teaches.
  struct PairTerms {
    size_t pair;
    std::vector<size_t> terms;
    std::vector<size_t> whole;
    std::vector<size_t> taught;

    bool has_scores() const { return !terms.empty() || !taught.empty(); }
  };

  bool any_uses(bool LossTerm::*number) const {
    return std::any_of(terms_.begin(), terms_.end(), [&](const LossTerm& term) { return term.*number; });
  }

  // Of features themselves, not of their scores alone.
  static bool needs_rows(const LossTerm& term) { return term.whole || term.make_double({}, 0)->needs().norms; }

  const Term& config_of(size_t term) const { return config_.term(static_cast<int>(term)); }

  // In the order of the features. Every rank has the same names, so every rank throws or none.
  std::vector<PairTerms> terms_by_pair(const Features& local) const {
    std::vector<PairTerms> by_pair;
    std::vector<std::string> names;
    std::vector<bool> found(terms_.size(), false), has_teacher(terms_.size(), false);
    for (size_t pair = 0; pair < local.pairs.size(); ++pair) {
      by_pair.push_back({pair, {}, {}, {}});
      names.push_back(local.pairs[pair].name);
      for (size_t i = 0; i < terms_.size(); ++i) {
        if (terms_[i].teacher == names.back()) {
          by_pair.back().taught.push_back(i);
          has_teacher[i] = true;
        }
        if (config_of(i).pair() != names.back()) continue;
        (terms_[i].whole ? by_pair.back().whole : by_pair.back().terms).push_back(i);
        found[i] = true;
        if (local.pairs[pair].sets && needs_rows(terms_[i])) {
          throw ConfigError(
              fmt::format("{} is {}, which needs one feature a sample: \"{}\" has sets of regions and words; give "
                          "another loss or pair",
                          term_path(static_cast<int>(i)), loss_name(config_of(i)), names.back()));
        }
      }
      if (!by_pair.back().has_scores() && by_pair.back().whole.empty()) by_pair.pop_back();
    }
    for (size_t i = 0; i < terms_.size(); ++i) {
      const std::string path = term_path(static_cast<int>(i));
      if (!found[i]) {
        throw ConfigError(fmt::format("{}.pair is \"{}\", but the features have only {}; give one of those", path,
                                      config_of(i).pair(), fmt::join(names, ", ")));
      }
      if (terms_[i].teacher.empty()) continue;
      if (!has_teacher[i]) {
        throw ConfigError(fmt::format("{}.{}.teacher is \"{}\", but the features have only {}; give one of those", path,
                                      loss_name(config_of(i)), terms_[i].teacher, fmt::join(names, ", ")));
      }
      if (device_.tiles != nullptr) {
        throw ConfigError(
            fmt::format("{} is {}, which is computed on the CPU alone: set train.device=CPU, or leave it "
                        "out",
                        path, loss_name(config_of(i))));
      }
    }
    return by_pair;
  }

  bool counts_now(size_t term, const Progress& progress) const { return counts(config_of(term), progress.step); }

  template <typename T>
  LossResult evaluate_as(const Features& local, const Progress& progress, GatheringBatch& gathering,
                         Communicator& communicator) const {
    const std::vector<PairTerms> by_pair = terms_by_pair(local);
    LossResult result;
    result.terms.resize(terms_.size());
    result.samples.resize(terms_.size());
    for (const FeaturePair& pair : local.pairs) result.gradient.pairs.push_back({pair.name, {}, {}, pair.sets});
    GlobalBatch global = finish_batch(gathering, communicator.rank());
    ParameterShares shares;
    // Those that teach come first.
    std::map<std::string, TaughtScores> lessons;
    for (const bool teaching : {true, false}) {
      auto texts = gathering.texts.begin();
      for (const PairTerms& pair : by_pair) {
        if (!pair.has_scores()) continue;
        GatheringTexts& own = *texts++;
        if (pair.taught.empty() == teaching) continue;
        evaluate_pair<T>(local.pairs[pair.pair], own, pair, progress, global, lessons, communicator, result, shares);
      }
    }
    for (size_t i = 0; i < local.pairs.size(); ++i) {
      FeaturePair& gradient = result.gradient.pairs[i];
      if (gradient.image.defined()) continue;
      gradient.image = at::zeros_like(local.pairs[i].image);
      gradient.text = at::zeros_like(local.pairs[i].text);
    }
    for (const PairTerms& pair : by_pair) {
      for (const size_t term : pair.whole) {
        if (!counts_now(term, progress)) continue;
        result.terms[term] =
            terms_[term].whole->evaluate(local.pairs[pair.pair], global.batch, config_of(term).weight(),
                                         result.gradient.pairs[pair.pair], communicator);
      }
    }
    for (size_t i = 0; i < terms_.size(); ++i) result.value += config_of(i).weight() * result.terms[i];
    for (const auto& [number, share] : {std::pair{&log_scale_, shares.log_scale}, {&logit_bias_, shares.bias}}) {
      if (number->leaf().defined()) result.parameter_grads.push_back(at::scalar_tensor(share, at::kDouble));
    }
    return result;
  }

  struct ParameterShares {
    double log_scale = 0;
    double bias = 0;
  };

  // What the pair's scores teach goes to `lessons`, where its own losses find what others teach.
  template <typename T>
  void evaluate_pair(const FeaturePair& features, GatheringTexts& texts, const PairTerms& pair,
                     const Progress& progress, GlobalBatch& global, std::map<std::string, TaughtScores>& lessons,
                     Communicator& communicator, LossResult& result, ParameterShares& shares) const {
    const LogitParameters logits{std::exp(log_scale_.value()), logit_bias_.value()};
    const at::Tensor columns = texts.rows.wait();
    const at::Tensor image = features.image.contiguous();
    TaughtScores taught;
    const auto now = [&](size_t term) { return counts_now(term, progress); };
    if (std::any_of(pair.taught.begin(), pair.taught.end(), now)) {
      taught.record = at::empty({global.batch.rows, global.batch.columns}, image.options());
    }
    PairLosses<T> losses;
    std::vector<double> weights;
    std::vector<size_t> terms;
    for (const size_t term : pair.terms) {
      if (!now(term)) continue;
      if constexpr (std::is_same_v<T, float>) {
        losses.push_back(terms_[term].make_float(logits, progress.epoch));
      } else {
        losses.push_back(terms_[term].make_double(logits, progress.epoch));
      }
      weights.push_back(config_of(term).weight());
      terms.push_back(term);
      if (terms_[term].teacher.empty()) continue;
      const TaughtScores& lesson = lessons.at(terms_[term].teacher);
      losses.back()->take_teacher(lesson.record.template const_data_ptr<T>());
      taught.finite &= lesson.finite;
    }
    if (losses.empty() && !taught.record.defined()) return;
    const PairResult pairs =
        features.sets
            ? evaluate_sets<T>(image, {columns, texts.gathered}, {features.sets->image, texts.sizes},
                               make_alignment(config_.alignment()), global, losses, weights, taught, shape_,
                               communicator)
            : evaluate_pairs<T>(image, columns, global, losses, weights, taught, shape_, device_, communicator);
    if (taught.record.defined()) lessons[features.name] = {taught.record, pairs.finite};
    result.gradient.pairs[pair.pair].image = pairs.d_image;
    result.gradient.pairs[pair.pair].text = pairs.d_text;
    for (size_t i = 0; i < losses.size(); ++i) {
      const size_t term = terms[i];
      result.terms[term] = pairs.values[i];
      result.samples[term] = losses[i]->sample_losses();
      if (terms_[term].uses_logit_scale) shares.log_scale += losses[i]->scale_gradient();
      if (terms_[term].uses_logit_bias) shares.bias += losses[i]->bias_gradient();
    }
  }

  Objective config_;
  TileShape shape_;
  LossDevice device_;
  std::vector<LossTerm> terms_;
  std::vector<std::string> names_;
  SharedNumber log_scale_;
  SharedNumber logit_bias_;
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
};

LossObjective::LossObjective(const Objective& config) : LossObjective(config, TileShape{}) {}
LossObjective::LossObjective(const Objective& config, const LossDevice& device)
    : LossObjective(config, device.shape(), device) {}
LossObjective::LossObjective(const Objective& config, const TileShape& shape, const LossDevice& device)
    : impl_(std::make_unique<Impl>(config, shape, device)) {}
LossObjective::~LossObjective() = default;

LossResult LossObjective::evaluate(const Features& local, const Labels& labels, const Progress& progress,
                                   Communicator& communicator) {
  return evaluate(local, labels, progress, begin(local, labels, communicator), communicator);
}

GatheringBatch LossObjective::begin(const Features& texts, const Labels& labels, Communicator& communicator) const {
  return impl_->begin(texts, labels, communicator);
}

LossResult LossObjective::evaluate(const Features& local, const Labels&, const Progress& progress,
                                   GatheringBatch gathering, Communicator& communicator) {
  return impl_->evaluate(local, progress, gathering, communicator);
}

const std::vector<std::pair<std::string, at::Tensor>>& LossObjective::parameters() const {
  return impl_->parameters();
}
double LossObjective::logit_scale() const {
  return std::exp(impl_->log_scale().value());
}
void LossObjective::set_log_scale(double log_scale) {
  impl_->log_scale().set(log_scale);
}
bool LossObjective::uses_logit_bias() const {
  return impl_->uses_logit_bias();
}
double LossObjective::logit_bias() const {
  return impl_->logit_bias().value();
}
void LossObjective::set_logit_bias(double bias) {
  impl_->logit_bias().set(bias);
}
void LossObjective::clamp() {
  impl_->clamp();
}
const std::vector<std::string>& LossObjective::term_names() const {
  return impl_->names();
}
bool LossObjective::counts_at(size_t term, int64_t step) const {
  return impl_->counts_at(term, step);
}
double LossObjective::collapsed_value(size_t term, int64_t batch) const {
  return impl_->collapsed_value(term, batch);
}

}  // namespace muster
