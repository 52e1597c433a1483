#include "trainer/losses/objective.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "launch/error.h"
#include "trainer/losses/pair_evaluation.h"

namespace muster {
namespace {

bool is_positive(double x) {
  return std::isfinite(x) && x > 0;
}

void require(bool ok, const std::string& field, double value, const char* rule) {
  if (!ok) throw ConfigError(fmt::format("objective.{}: {} {}", field, value, rule));
}

// The temperature, or 0 if the term takes the shared scale. Only for terms that have a scale.
template <typename Loss>
void check_temperature(const Loss& loss, const std::string& field) {
  if (!loss.has_temperature()) return;
  require(is_positive(loss.temperature()), field + ".temperature", loss.temperature(), "must be positive and finite");
}

void check_term(const Term& term, int index) {
  const std::string field = fmt::format("term[{}]", index);
  require(std::isfinite(term.weight()), field + ".weight", term.weight(), "must be finite");
  switch (term.loss_case()) {
    case Term::kInfoNce:
      check_temperature(term.info_nce(), field + ".info_nce");
      return;
    case Term::kSdm:
      check_temperature(term.sdm(), field + ".sdm");
      require(is_positive(term.sdm().epsilon()), field + ".sdm.epsilon", term.sdm().epsilon(),
              "must be positive and finite (it is inside a logarithm)");
      return;
    case Term::kTriplet:
      require(std::isfinite(term.triplet().margin()) && term.triplet().margin() >= 0, field + ".triplet.margin",
              term.triplet().margin(), "must be finite and not negative");
      return;
    case Term::LOSS_NOT_SET:
      break;
  }
  throw ConfigError(fmt::format("objective.{} names no loss: add info_nce {{}}, sdm {{}} or triplet {{}}", field));
}

std::string name_of(const Term& term) {
  switch (term.loss_case()) {
    case Term::kInfoNce:
      return "info_nce";
    case Term::kSdm:
      return "sdm";
    case Term::kTriplet:
      return "triplet";
    case Term::LOSS_NOT_SET:
      break;
  }
  throw std::logic_error("name_of: a term without a loss");
}

bool uses_logit_scale(const Term& term) {
  return (term.has_info_nce() && !term.info_nce().has_temperature()) ||
         (term.has_sdm() && !term.sdm().has_temperature());
}

void check_scale(const LogitScale& scale) {
  require(is_positive(scale.init()), "logit_scale.init", scale.init(), "must be positive and finite");
  require(std::isfinite(scale.max()) && scale.max() >= 1, "logit_scale.max", scale.max(),
          "must be finite and at least 1");
  if (!scale.learnable()) return;
  require(scale.init() >= 1 && scale.init() <= scale.max(), "logit_scale.init", scale.init(),
          "must lie between 1 and logit_scale.max: it is clamped to that after each step");
}

[[noreturn]] void broken(const std::string& what) {
  throw std::logic_error("LossObjective::evaluate: " + what);
}

void check_features(const Features& local, const Labels& labels) {
  if (local.pairs.empty()) broken("no pair of features");
  const at::Tensor& image = local.pairs.front().image;
  const at::Tensor& text = local.pairs.front().text;
  if (!image.defined() || !text.defined() || !labels.identity.defined()) broken("undefined tensor");
  if (image.dim() != 2 || image.sizes() != text.sizes() || image.size(1) == 0)
    broken("image and text are not both [b, d]");
  if (image.scalar_type() != text.scalar_type()) broken("image and text differ in dtype");
  if (image.scalar_type() != at::kFloat && image.scalar_type() != at::kDouble)
    broken("features are not float32 or float64");
  if (!image.is_cpu() || !text.is_cpu()) broken("features are not on the CPU");
  if (labels.identity.scalar_type() != at::kLong || labels.identity.dim() != 1 ||
      labels.identity.size(0) != image.size(0)) {
    broken("identity is not [b] int64");
  }
}

}  // namespace

class LossObjective::Impl {
 public:
  Impl(const Objective& config, const TileShape& shape) : config_(config), shape_(shape) {
    if (config_.term_size() == 0) throw ConfigError("objective has no term: add at least one, as term { info_nce {} }");
    bool shared = false;
    for (int i = 0; i < config_.term_size(); ++i) {
      check_term(config_.term(i), i);
      shared = shared || uses_logit_scale(config_.term(i));
      const std::string name = name_of(config_.term(i));
      const bool repeated = std::find(names_.begin(), names_.end(), name) != names_.end();
      names_.push_back(repeated ? fmt::format("{}_{}", name, i) : name);
    }
    check_scale(config_.logit_scale());
    log_scale_ = std::log(config_.logit_scale().init());
    if (!shared || !config_.logit_scale().learnable()) return;
    parameters_.emplace_back("objective.log_scale", at::full({}, log_scale_, at::kFloat));
    parameters_.front().second.set_requires_grad(true);
    log_scale_ = parameters_.front().second.item<double>();
  }

  LossResult evaluate(const Features& local, const Labels& labels, Communicator& communicator) const {
    const at::NoGradGuard no_grad;
    check_features(local, labels);
    return local.pairs.front().image.scalar_type() == at::kDouble ? evaluate_as<double>(local, labels, communicator)
                                                                  : evaluate_as<float>(local, labels, communicator);
  }

  // The leaf is the truth; the double that was set keeps its digits for as long as the leaf is its rounding.
  double log_scale() const {
    if (parameters_.empty()) return log_scale_;
    const float leaf = parameters_.front().second.item<float>();
    return leaf == static_cast<float>(log_scale_) ? log_scale_ : static_cast<double>(leaf);
  }

  void set_log_scale(double log_scale) {
    const at::NoGradGuard no_grad;
    log_scale_ = log_scale;
    for (auto& [name, leaf] : parameters_) leaf.fill_(log_scale);
  }

  void clamp() {
    const at::NoGradGuard no_grad;
    for (auto& [name, leaf] : parameters_) leaf.clamp_(0.0, std::log(config_.logit_scale().max()));
  }

  const std::vector<std::pair<std::string, at::Tensor>>& parameters() const { return parameters_; }
  const std::vector<std::string>& names() const { return names_; }

 private:
  template <typename T>
  LossResult evaluate_as(const Features& local, const Labels& labels, Communicator& communicator) const {
    const FeaturePair& pair = local.pairs.front();
    PairLosses<T> losses;
    std::vector<double> weights;
    for (const Term& term : config_.term()) {
      losses.push_back(make_pair_loss<T>(term, std::exp(log_scale())));
      weights.push_back(term.weight());
    }
    const PairResult pairs = evaluate_pairs<T>(pair.image.contiguous(), pair.text.contiguous(),
                                               labels.identity.contiguous(), losses, weights, shape_, communicator);
    LossResult result;
    result.terms = pairs.values;
    for (size_t i = 0; i < weights.size(); ++i) result.value += weights[i] * pairs.values[i];
    result.gradient.pairs.push_back({pair.name, pairs.d_image, pairs.d_text});
    if (parameters_.empty()) return result;
    double share = 0;
    for (size_t i = 0; i < losses.size(); ++i) {
      if (uses_logit_scale(config_.term(static_cast<int>(i)))) share += losses[i]->scale_gradient();
    }
    result.parameter_grads.push_back(at::scalar_tensor(share, at::kDouble));
    return result;
  }

  Objective config_;
  TileShape shape_;
  double log_scale_ = 0;
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
  std::vector<std::string> names_;
};

LossObjective::LossObjective(const Objective& config) : LossObjective(config, TileShape{}) {}
LossObjective::LossObjective(const Objective& config, const TileShape& shape)
    : impl_(std::make_unique<Impl>(config, shape)) {}
LossObjective::~LossObjective() = default;

LossResult LossObjective::evaluate(const Features& local, const Labels& labels, const Progress&,
                                   Communicator& communicator) {
  return impl_->evaluate(local, labels, communicator);
}

const std::vector<std::pair<std::string, at::Tensor>>& LossObjective::parameters() const {
  return impl_->parameters();
}
double LossObjective::logit_scale() const {
  return std::exp(impl_->log_scale());
}
void LossObjective::set_log_scale(double log_scale) {
  impl_->set_log_scale(log_scale);
}
void LossObjective::clamp() {
  impl_->clamp();
}
const std::vector<std::string>& LossObjective::term_names() const {
  return impl_->names();
}

}  // namespace muster
