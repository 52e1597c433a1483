#include "trainer/weight_average.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace muster {
namespace {

constexpr int64_t kGrainBytes = 1 << 17;

double decay_after(int64_t updates, const EmaConfig& config) {
  if (!config.warmup()) return config.decay();
  const auto n = static_cast<double>(updates);
  return std::min(config.decay(), (1 + n) / (10 + n));
}

void exchange_values(const at::Tensor& a, const at::Tensor& b) {
  if (!a.is_cpu()) {
    const at::Tensor kept = a.clone();
    a.copy_(b);
    b.copy_(kept);
    return;
  }
  auto* const left = static_cast<std::byte*>(a.mutable_data_ptr());
  auto* const right = static_cast<std::byte*>(b.mutable_data_ptr());
  at::parallel_for(0, static_cast<int64_t>(a.nbytes()), kGrainBytes,
                   [&](int64_t first, int64_t last) { std::swap_ranges(left + first, left + last, right + first); });
}

}  // namespace

WeightAverage::WeightAverage(NamedTensors weights, const EmaConfig& config)
    : weights_(std::move(weights)), config_(config) {
  for (const auto& [name, tensor] : weights_) average_.emplace_back(name, tensor.detach().clone());
}

void WeightAverage::update(int64_t updates) {
  const at::NoGradGuard no_grad;
  const double share = 1 - decay_after(updates, config_);
  for (size_t i = 0; i < weights_.size(); ++i) average_[i].second.lerp_(weights_[i].second, share);
}

void WeightAverage::exchange() {
  for (size_t i = 0; i < weights_.size(); ++i) exchange_values(weights_[i].second, average_[i].second);
}

}  // namespace muster
