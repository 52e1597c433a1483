#include "trainer/optimizer.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "launch/error.h"

namespace muster {
namespace {

std::vector<at::Tensor> gradients_of(const std::vector<at::Tensor>& parameters) {
  std::vector<at::Tensor> gradients;
  gradients.reserve(parameters.size());
  for (const at::Tensor& parameter : parameters) {
    if (!parameter.grad().defined()) throw std::logic_error("Optimizer::step: a parameter has no gradient");
    gradients.push_back(parameter.grad());
  }
  return gradients;
}

std::string shape_text(const at::Tensor& tensor) {
  return fmt::format("{} [{}]", c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ","));
}

}  // namespace

Optimizer::Optimizer(NamedParameters trainable, const OptimizerConfig& config, const LayersAbove& layers)
    : parameters_(std::move(trainable)), config_(config), layers_(layers) {
  check_groups(parameters_, config_);
  for (const auto& [name, parameter] : parameters_) {
    if (!parameter.is_contiguous()) throw std::logic_error("Optimizer: parameter " + name + " is not contiguous");
    Bundle& bundle = bundle_of(config_.rate() * rate_multiplier(name, layers_, config_),
                               weight_decay(name, parameter, config_), parameter.device());
    bundle.parameters.push_back(parameter);
    if (config_.kind() != OptimizerConfig::SGD) {
      state_.emplace_back(name + ".exp_avg", at::zeros_like(parameter.detach()));
      bundle.exp_avgs.push_back(state_.back().second);
      state_.emplace_back(name + ".exp_avg_sq", at::zeros_like(parameter.detach()));
      bundle.exp_avg_sqs.push_back(state_.back().second);
    }
    state_.emplace_back(name + ".step", at::zeros({}, at::TensorOptions(at::kFloat).device(parameter.device())));
    bundle.steps.push_back(state_.back().second);
  }
}

Optimizer::Bundle& Optimizer::bundle_of(double rate, double decay, at::Device device) {
  for (Bundle& bundle : bundles_) {
    if (bundle.rate == rate && bundle.decay == decay && bundle.parameters.front().device() == device) return bundle;
  }
  bundles_.emplace_back();
  bundles_.back().rate = rate;
  bundles_.back().decay = decay;
  return bundles_.back();
}

void Optimizer::step(double rate_factor, double gradient_scale) {
  const at::NoGradGuard no_grad;
  for (Bundle& bundle : bundles_) {
    const std::vector<at::Tensor> gradients = gradients_of(bundle.parameters);
    if (gradient_scale != 1) at::_foreach_mul_(gradients, gradient_scale);
    at::_foreach_add_(bundle.steps, 1);
    update(bundle, gradients, bundle.rate * rate_factor);
  }
}

void Optimizer::update(Bundle& bundle, const std::vector<at::Tensor>& gradients, double rate) {
  const double decay = bundle.decay;
  switch (config_.kind()) {
    case OptimizerConfig::ADAMW:
      at::_fused_adamw_(bundle.parameters, gradients, bundle.exp_avgs, bundle.exp_avg_sqs, {}, bundle.steps, rate,
                        config_.beta1(), config_.beta2(), decay, config_.epsilon(), false, false);
      return;
    case OptimizerConfig::ADAM_L2:
      at::_fused_adam_(bundle.parameters, gradients, bundle.exp_avgs, bundle.exp_avg_sqs, {}, bundle.steps, rate,
                       config_.beta1(), config_.beta2(), decay, config_.epsilon(), false, false);
      return;
    case OptimizerConfig::SGD:
      if (decay != 0) at::_foreach_mul_(bundle.parameters, 1 - rate * decay);
      at::_foreach_add_(bundle.parameters, gradients, -rate);
      return;
  }
}

NamedTensors Optimizer::state() const {
  return state_;
}

void Optimizer::load_state(const NamedTensors& state, const std::string& path) {
  std::map<std::string, at::Tensor> found(state.begin(), state.end());
  for (const auto& [name, tensor] : state_) {
    const auto entry = found.find(name);
    if (entry == found.end()) {
      throw DataError(path + " has no " + name + ": it was written by a run with another model or optimizer");
    }
    if (entry->second.sizes() != tensor.sizes() || entry->second.scalar_type() != tensor.scalar_type()) {
      throw DataError(fmt::format("{}: {} is {}, this run's is {}: it was written by a run with another model", path,
                                  name, shape_text(entry->second), shape_text(tensor)));
    }
  }
  if (found.size() > state_.size()) {
    for (const auto& [name, tensor] : state_) found.erase(name);
    throw DataError(
        fmt::format("{} holds {}, which this run has not: it was written by a run with another model or "
                    "other frozen parameters",
                    path, found.begin()->first));
  }
  for (const auto& [name, tensor] : state_) tensor.copy_(found.at(name));
}

std::vector<std::string> Optimizer::describe_groups() const {
  std::vector<std::string> lines;
  for (int group = -1; group < config_.group_size(); ++group) {
    int64_t tensors = 0, count = 0, undecayed = 0;
    double least = std::numeric_limits<double>::max(), most = 0, decay = 0;
    for (const auto& [name, parameter] : parameters_) {
      if (find_group(name, config_) != group) continue;
      const double own_decay = weight_decay(name, parameter, config_);
      const double rate = config_.rate() * rate_multiplier(name, layers_, config_);
      ++tensors;
      count += parameter.numel();
      undecayed += own_decay == 0 ? 1 : 0;
      least = std::min(least, rate);
      most = std::max(most, rate);
      decay = std::max(decay, own_decay);
    }
    if (tensors == 0) continue;
    const std::string pattern = group < 0 ? "the rest" : config_.group(group).name();
    const std::string rates = least == most ? fmt::format("{:g}", most) : fmt::format("{:g} to {:g}", least, most);
    lines.push_back(
        fmt::format("{}: {} tensors, {} parameters, rate {}, decay {:g}", pattern, tensors, count, rates, decay));
    if (decay > 0 && undecayed > 0) lines.back() += fmt::format(" ({} tensors without)", undecayed);
  }
  if (config_.layer_decay() != 1) lines.push_back(describe_layers());
  return lines;
}

std::string Optimizer::describe_layers() const {
  int64_t deepest = 0;
  for (const auto& [name, parameter] : parameters_) {
    const auto above = layers_.find(name);
    if (above != layers_.end()) deepest = std::max(deepest, above->second);
  }
  std::string line = fmt::format("layer decay {:g}: rates from the features down", config_.layer_decay());
  for (int64_t above = 0; above <= deepest; ++above) {
    line += fmt::format(" {:.3g}", config_.rate() * std::pow(config_.layer_decay(), static_cast<double>(above)));
  }
  return line;
}

}  // namespace muster
