#include "trainer/weight_average.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "dataloader/random.h"

namespace muster {
namespace {

NamedTensors drawn(uint64_t key) {
  NamedTensors tensors;
  for (const int64_t size : {1, 7, 300001}) {
    at::Tensor tensor = at::empty({size}, at::kFloat);
    KeyedRandom random(key, static_cast<uint64_t>(size), 1U);
    for (int64_t i = 0; i < size; ++i) tensor.mutable_data_ptr<float>()[i] = static_cast<float>(random.next_normal());
    tensors.emplace_back(std::to_string(size), tensor);
  }
  return tensors;
}

void assign(const NamedTensors& to, const NamedTensors& from) {
  for (size_t i = 0; i < to.size(); ++i) to[i].second.copy_(from[i].second);
}

EmaConfig config_of(double decay, bool warmup) {
  EmaConfig config;
  config.set_decay(decay);
  config.set_warmup(warmup);
  return config;
}

TEST(WeightAverageTest, EqualsTheRecursionInDouble) {
  for (const bool warmup : {false, true}) {
    const NamedTensors weights = drawn(1);
    WeightAverage average(weights, config_of(0.7, warmup));
    std::vector<at::Tensor> expected;
    for (const auto& weight : weights) expected.push_back(weight.second.to(at::kDouble));
    for (int64_t step = 0; step < 40; ++step) {
      assign(weights, drawn(static_cast<uint64_t>(step + 2)));
      average.update(step);
      const double decay = warmup ? std::min(0.7, static_cast<double>(1 + step) / static_cast<double>(10 + step)) : 0.7;
      for (size_t i = 0; i < expected.size(); ++i) {
        expected[i] = expected[i] * decay + weights[i].second.to(at::kDouble) * (1 - decay);
      }
    }
    for (size_t i = 0; i < expected.size(); ++i) {
      const at::Tensor error = (average.tensors()[i].second.to(at::kDouble) - expected[i]).abs();
      EXPECT_LE(error.max().item<double>(), 1e-6);
      EXPECT_EQ(average.tensors()[i].first, weights[i].first);
    }
  }
}

TEST(WeightAverageTest, WeightsThatDoNotMoveAreTheirAverageBitForBit) {
  const NamedTensors weights = drawn(1);
  WeightAverage average(weights, config_of(0.999, true));
  for (int64_t step = 0; step < 50; ++step) average.update(step);
  for (size_t i = 0; i < weights.size(); ++i) EXPECT_TRUE(average.tensors()[i].second.equal(weights[i].second));
}

TEST(WeightAverageTest, SameBitsAtAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  std::vector<NamedTensors> results;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    const NamedTensors weights = drawn(1);
    WeightAverage average(weights, config_of(0.9, false));
    assign(weights, drawn(2));
    average.update(0);
    results.push_back(average.tensors());
  }
  at::set_num_threads(threads);
  for (size_t i = 0; i < results[0].size(); ++i) {
    EXPECT_TRUE(results[0][i].second.equal(results[1][i].second));
    EXPECT_TRUE(results[0][i].second.equal(results[2][i].second));
  }
}

TEST(WeightAverageTest, WeightsHoldTheirAverageOnlyWhileTheScopeLives) {
  const NamedTensors weights = drawn(1), before = drawn(1), moved = drawn(2);
  WeightAverage average(weights, config_of(0.9, false));
  assign(weights, moved);
  {
    const AveragedWeights scope(&average);
    for (size_t i = 0; i < weights.size(); ++i) EXPECT_TRUE(weights[i].second.equal(before[i].second));
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_TRUE(weights[i].second.equal(moved[i].second));
    EXPECT_TRUE(average.tensors()[i].second.equal(before[i].second));
  }
  const AveragedWeights nothing(nullptr);
}

}  // namespace
}  // namespace muster
