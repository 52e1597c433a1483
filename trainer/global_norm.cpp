#include <ATen/Parallel.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "trainer/function_clones.h"
#include "trainer/optimizer.h"

namespace muster {
namespace {

constexpr int64_t kBlock = 1 << 15;
constexpr int64_t kLanes = 16;

// The lanes are written out, so that the order of the sum does not depend on the width of the CPU's vectors.
template <typename T>
inline __attribute__((always_inline)) double sum_squares(const T* values, int64_t count) {
  std::array<double, kLanes> lanes{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const auto value = static_cast<double>(values[i + lane]);
      lanes[static_cast<size_t>(lane)] += value * value;
    }
  }
  double sum = 0;
  for (; i < count; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  for (const double lane : lanes) sum += lane;
  return sum;
}

MUSTER_CLONES("avx512f", "avx2") double sum_squares_float(const float* values, int64_t count) {
  return sum_squares(values, count);
}

MUSTER_CLONES("avx512f", "avx2") double sum_squares_double(const double* values, int64_t count) {
  return sum_squares(values, count);
}

}  // namespace

double global_norm(const NamedParameters& parameters) {
  struct Block {
    const at::Tensor* gradient;
    int64_t begin;
  };
  std::vector<at::Tensor> gradients;
  gradients.reserve(parameters.size());
  std::vector<Block> blocks;
  std::vector<at::Tensor> on_gpu;  // squared norms
  for (const auto& [name, parameter] : parameters) {
    if (!parameter.grad().defined()) continue;
    if (!parameter.grad().is_cpu()) {
      on_gpu.push_back(at::linalg_vector_norm(parameter.grad(), 2, {}, false, at::kDouble).square());
      continue;
    }
    const bool is_double = parameter.grad().scalar_type() == at::kDouble;
    gradients.push_back(parameter.grad().to(is_double ? at::kDouble : at::kFloat).contiguous());
    for (int64_t begin = 0; begin < gradients.back().numel(); begin += kBlock) {
      blocks.push_back({&gradients.back(), begin});
    }
  }
  std::vector<double> sums(blocks.size());
  at::parallel_for(0, static_cast<int64_t>(blocks.size()), 8, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const auto [gradient, begin] = blocks[static_cast<size_t>(i)];
      const int64_t count = std::min(kBlock, gradient->numel() - begin);
      sums[static_cast<size_t>(i)] = gradient->scalar_type() == at::kDouble
                                         ? sum_squares_double(gradient->const_data_ptr<double>() + begin, count)
                                         : sum_squares_float(gradient->const_data_ptr<float>() + begin, count);
    }
  });
  double sum = 0;
  for (const double block : sums) sum += block;
  if (!on_gpu.empty()) sum += at::stack(on_gpu).sum().item<double>();
  return std::sqrt(sum);
}

}  // namespace muster
