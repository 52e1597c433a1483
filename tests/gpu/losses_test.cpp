// The losses' engine on a GPU against the whole batch in double: the kernels themselves, whose lines tests/losses
// proves on the CPU.
#include <gtest/gtest.h>

#include <cmath>

#include "comm/local_communicator.h"
#include "tests/gpu/gpu_rank.h"
#include "tests/losses/loss_reference.h"

namespace muster {
namespace {

using namespace loss_test;

constexpr double kLogScale = 3.1;

class GpuLosses : public testing::Test {
 protected:
  void SetUp() override { MUSTER_NEEDS_A_GPU(); }

  static LossResult on_gpu(const Objective& config, const TileShape& shape, const Batch& batch, at::ScalarType dtype,
                           bool half, ParameterGradients& parameters) {
    LocalCommunicator local;
    LossObjective objective(config, shape, loss_device(gpu_of_this_rank(), half));
    objective.set_log_scale(kLogScale);
    auto [features, labels] = slice(batch, {batch.identity.size(0)}, 0, dtype);
    for (FeaturePair& pair : features.pairs) {
      pair = {pair.name, pair.image.to(gpu_of_this_rank()), pair.text.to(gpu_of_this_rank())};
    }
    LossResult result = objective.evaluate(features, labels, {}, local);
    for (FeaturePair& pair : result.gradient.pairs) pair = {pair.name, pair.image.cpu(), pair.text.cpu()};
    parameters = sum_parameters(objective, result, local);
    return result;
  }

  static Errors errors(const std::string& text, const TileShape& shape, const Batch& batch, at::ScalarType dtype,
                       bool half = false) {
    const Objective config = parse_objective(text);
    const Answer truth = reference(config, batch, kLogScale);
    ParameterGradients parameters;
    const LossResult result = on_gpu(config, shape, batch, dtype, half, parameters);
    return compare(result, truth, {batch.identity.size(0)}, 0, parameters);
  }
};

TEST_F(GpuLosses, EqualTheWholeBatch) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const double gate = dtype == at::kDouble ? 1e-12 : 2e-5;
    for (const int64_t size : {1, 2, 7, 49, 300}) {
      const Batch batch = make_batch(size, 24, (size + 1) / 2, 203 + static_cast<uint64_t>(size)).weighted(5).to(dtype);
      for (const std::string& text : objectives()) {
        for (const TileShape& shape : {TileShape{100, 130}, LossDevice{}.shape()}) {
          const Errors found = errors(text, shape, batch, dtype);
          EXPECT_LE(found.value, gate) << text << " B " << size;
          EXPECT_LE(found.gradient, gate) << text << " B " << size;
        }
      }
    }
  }
}

TEST_F(GpuLosses, GiveTiesToTheLowestIndex) {
  const Batch batch = make_ties(210, 9, 3).to(at::kFloat);
  for (const std::string& text : objectives()) {
    if (text.find("triplet") == std::string::npos) continue;
    EXPECT_LE(errors(text, {100, 130}, batch, at::kFloat).gradient, 2e-5) << text;
  }
}

TEST_F(GpuLosses, GiveTheSameBitsAgain) {
  const Batch batch = make_batch(300, 24, 100, 3).to(at::kFloat);
  for (const bool half : {false, true}) {
    ParameterGradients first, second;
    const Objective config = parse_objective(objectives().back());
    const LossResult one = on_gpu(config, {100, 130}, batch, at::kFloat, half, first);
    const LossResult two = on_gpu(config, {100, 130}, batch, at::kFloat, half, second);
    EXPECT_EQ(one.value, two.value);
    EXPECT_EQ(first.log_scale, second.log_scale);
    EXPECT_TRUE(one.gradient.pairs[0].image.equal(two.gradient.pairs[0].image));
    EXPECT_TRUE(one.gradient.pairs[0].text.equal(two.gradient.pairs[0].text));
  }
}

// Prints what the bound in the README is taken from.
TEST_F(GpuLosses, WithHalfProductsAreNear) {
  const Batch batch = make_batch(96, 64, 40, 11).to(at::kFloat);
  for (const std::string& text : objectives()) {
    if (text.find("triplet") != std::string::npos) continue;  // steps where cosines are within rounding
    const Errors found = errors(text, {50, 70}, batch, at::kFloat, true);
    RecordProperty("largest_relative_error", std::to_string(found.gradient));
    EXPECT_LE(found.value, 2e-3) << text;
    EXPECT_LE(found.gradient, 2e-2) << text;
    EXPECT_GE(found.gradient, 2e-5) << text;
  }
}

}  // namespace
}  // namespace muster
