#include "trainer/replica.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>

#include "launch/error.h"

namespace muster {

NamedTensors model_tensors(const Model& model) {
  NamedTensors tensors;
  for (const auto& parameter : model.named_parameters())
    tensors.emplace_back(parameter.key(), parameter.value().detach());
  for (const auto& buffer : model.named_buffers()) tensors.emplace_back(buffer.key(), buffer.value());
  return tensors;
}

NamedTensors replica_tensors(const Model& model, const LossObjective& objective, const Heads& heads) {
  NamedTensors tensors = model_tensors(model);
  for (const auto& head : heads) {
    for (const auto& parameter : head->named_parameters()) {
      tensors.emplace_back(parameter_prefix(*head) + parameter.key(), parameter.value().detach());
    }
  }
  for (const auto& [name, tensor] : objective.parameters()) tensors.emplace_back(name, tensor.detach());
  return tensors;
}

NamedTensors without_heads(const NamedTensors& tensors) {
  NamedTensors kept;
  for (const auto& tensor : tensors) {
    if (tensor.first.rfind(kHeadsPrefix, 0) != 0) kept.push_back(tensor);
  }
  return kept;
}

NamedParameters take_trainable(Model& model, const LossObjective& objective, const OptimizerConfig& config,
                               const Heads& heads) {
  NamedParameters all;
  for (auto& parameter : model.named_parameters()) all.emplace_back(parameter.key(), parameter.value());
  for (const auto& head : heads) {
    for (auto& parameter : head->named_parameters()) {
      all.emplace_back(parameter_prefix(*head) + parameter.key(), parameter.value());
    }
  }
  for (const auto& parameter : objective.parameters()) all.push_back(parameter);
  std::vector<std::string> names;
  for (const auto& parameter : all) names.push_back(parameter.first);
  check_all_groups(names, config);
  NamedParameters trainable;
  for (auto& [name, parameter] : all) {
    if (!is_frozen(name, config)) {
      trainable.emplace_back(name, parameter);
    } else if (name.rfind("objective.", 0) != 0) {
      parameter.set_requires_grad(false);
    }
  }
  if (trainable.empty()) throw ConfigError("train.optimizer.group freezes every parameter; leave one to train");
  return trainable;
}

void copy_tensors(const NamedTensors& from, const NamedTensors& into, const std::string& where) {
  if (from.size() != into.size()) {
    throw DataError(
        fmt::format("{} is a checkpoint of another model: it has {} tensors, this model {}; give the config "
                    "it was made with, or another --run",
                    where, from.size(), into.size()));
  }
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : into) {
    const at::Tensor& source = find_tensor(from, name, where);
    if (source.sizes() != tensor.sizes() || source.scalar_type() != tensor.scalar_type()) {
      throw DataError(
          fmt::format("{} is a checkpoint of another model: {} has shape [{}] there and [{}] here; give the "
                      "config it was made with, or another --run",
                      where, name, fmt::join(source.sizes(), ", "), fmt::join(tensor.sizes(), ", ")));
    }
    tensor.copy_(source);
  }
}

void broadcast_tensors(const NamedTensors& tensors, Communicator& communicator, const std::string& name) {
  for (const auto& tensor : tensors) communicator.broadcast(tensor.second, 0, name + " " + tensor.first).wait();
}

std::string broadcast_string(const std::string& text, Communicator& communicator, const std::string& name) {
  const at::Tensor size = at::scalar_tensor(static_cast<int64_t>(text.size()), at::kLong);
  communicator.broadcast(size, 0, name).wait();
  const at::Tensor bytes = at::empty({size.item<int64_t>()}, at::kByte);
  if (communicator.rank() == 0) std::copy(text.begin(), text.end(), bytes.data_ptr<uint8_t>());
  communicator.broadcast(bytes, 0, name).wait();
  return {static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.numel())};
}

}  // namespace muster
