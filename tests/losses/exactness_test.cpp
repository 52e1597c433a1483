// Value and gradients of the tile engine against the whole batch in double, for ranks as threads.
#include <gtest/gtest.h>

#include <ATen/Parallel.h>

#include <functional>
#include <mutex>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "tests/losses/host_tile_device.h"
#include "tests/losses/loss_reference.h"

namespace muster {
namespace {

using namespace loss_test;

constexpr double kLogScale = 3.1;  // scale 22.2
constexpr double kFloatGate = 2e-5;
constexpr double kDoubleGate = 1e-12;

double gate(at::ScalarType dtype) {
  return dtype == at::kDouble ? kDoubleGate : kFloatGate;
}

struct Case {
  int ranks;
  at::ScalarType dtype;
  LossDevice device;
};

// Every objective on one batch, cut in every way.
void expect_exact(const Batch& exact, const Case& tested, const TileShape& shape) {
  const auto [ranks, dtype, device] = tested;
  const Batch batch = exact.to(dtype);
  const int64_t size = batch.identity.size(0);
  std::vector<Answer> expected;
  for (const std::string& text : objectives()) expected.push_back(reference(parse_objective(text), batch, kLogScale));
  for (const std::vector<int64_t>& rows : ways_to_cut(size, ranks)) {
    std::mutex mutex;
    std::vector<Errors> worst(expected.size());
    run_ranks(ranks, [&](Communicator& communicator) {
      for (size_t i = 0; i < expected.size(); ++i) {
        const Errors errors = errors_on_rank(parse_objective(objectives()[i]), shape, batch, expected[i], kLogScale,
                                             rows, dtype, communicator, communicator, device);
        const std::lock_guard lock(mutex);
        worst[i].value = std::max(worst[i].value, errors.value);
        worst[i].gradient = std::max(worst[i].gradient, errors.gradient);
      }
    });
    for (size_t i = 0; i < expected.size(); ++i) {
      const std::string where = objectives()[i] + " B " + std::to_string(size) +
                                " rows on rank 0: " + std::to_string(rows[0]) +
                                (batch.weight.defined() ? ", weighted" : "");
      EXPECT_LE(worst[i].value, gate(dtype)) << where;
      EXPECT_LE(worst[i].gradient, gate(dtype)) << where;
    }
  }
}

class Exactness : public testing::TestWithParam<Case> {};

TEST_P(Exactness, EqualsTheWholeBatchWithRaggedTiles) {
  for (const int64_t size : {1, 2, 3, 7, 49}) {
    expect_exact(make_batch(size, 24, (size + 1) / 2, 203 + static_cast<uint64_t>(size)), GetParam(),
                 TileShape{13, 16, 5});
  }
}

TEST_P(Exactness, EqualsTheWholeBatchWithOneTile) {
  expect_exact(make_batch(131, 33, 40, 5), GetParam(), TileShape{});
}

TEST_P(Exactness, EqualsTheWholeBatchWithWeights) {
  for (const int64_t size : {11, 40}) {
    expect_exact(make_batch(size, 24, (size + 1) / 2, 103 + static_cast<uint64_t>(size)).weighted(5), GetParam(),
                 TileShape{13, 16, 5, 3});
  }
}

TEST_P(Exactness, HoldsWhenAllAreOneIdentity) {
  expect_exact(make_batch(9, 8, 1, 7), GetParam(), TileShape{4, 4, 3});
}

TEST_P(Exactness, GivesTiesToTheLowestIndex) {
  expect_exact(make_ties(21, 9, 3), GetParam(), TileShape{4, 6, 3});
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (int ranks = 1; ranks <= 4; ++ranks) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      all.push_back({ranks, dtype, {}});
      all.push_back({ranks, dtype, host_loss_device()});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Ranks, Exactness, testing::ValuesIn(cases()), [](const auto& tested) {
  return std::to_string(tested.param.ranks) + (tested.param.dtype == at::kFloat ? "Float" : "Double") +
         (tested.param.device.tiles == nullptr ? "" : "Programs");
});

// Hinges and hardest negatives are left out: which pairs they take changes where cosines are within rounding.
std::vector<std::string> smooth_objectives() {
  std::vector<std::string> smooth;
  for (const std::string& text : objectives()) {
    if (text.find("triplet") == std::string::npos && text.find("HARDEST") == std::string::npos) smooth.push_back(text);
  }
  return smooth;
}

TEST(HalfProducts, AreNearTheWholeBatch) {
  const Batch batch = make_batch(96, 64, 40, 11).to(at::kFloat);
  LocalCommunicator local;
  for (const std::string& text : smooth_objectives()) {
    const Objective config = parse_objective(text);
    const Answer truth = reference(config, batch, kLogScale);
    const Errors errors = errors_on_rank(config, TileShape{50, 70}, batch, truth, kLogScale, {96}, at::kFloat, local,
                                         local, host_loss_device(/*half_products=*/true));
    EXPECT_LE(errors.value, 2e-3) << text;
    EXPECT_LE(errors.gradient, 2e-2) << text;
    EXPECT_GE(errors.gradient, 2e-5) << text << ": are these half products?";
  }
}

// A weight next to the middle between two halves may go to either.
TEST(HalfProducts, AreTheSameForAnyRanks) {
  const Batch batch = make_batch(96, 64, 40, 11).to(at::kFloat);
  const LossDevice device = host_loss_device(/*half_products=*/true);
  for (const std::string& text : objectives()) {
    LossObjective alone(parse_objective(text), TileShape{50, 70}, device);
    LocalCommunicator local;
    const auto [features, labels] = slice(batch, {96}, 0, at::kFloat);
    const LossResult whole = alone.evaluate(features, labels, {}, local);
    const at::Tensor image = whole.gradient.pairs[0].image, d_text = whole.gradient.pairs[0].text;
    const double most = std::max({largest(image), largest(d_text), 1e-30});
    run_ranks(3, [&](Communicator& communicator) {
      const int64_t first = communicator.rank() == 0 ? 0 : communicator.rank() == 1 ? 40 : 41;
      LossObjective objective(parse_objective(text), TileShape{50, 70}, device);
      const auto [own, own_labels] = slice(batch, {40, 1, 55}, communicator.rank(), at::kFloat);
      const LossResult part = objective.evaluate(own, own_labels, {}, communicator);
      const int64_t count = part.gradient.pairs[0].image.size(0);
      EXPECT_NEAR(part.value, whole.value, 2e-5 * std::max(1.0, std::fabs(whole.value))) << text;
      EXPECT_LE(largest(part.gradient.pairs[0].image - image.narrow(0, first, count)), 2e-4 * most) << text;
      EXPECT_LE(largest(part.gradient.pairs[0].text - d_text.narrow(0, first, count)), 2e-4 * most) << text;
    });
  }
}

// Rows of zeros, and rows so short that they count as zeros, have no gradient, and change nothing of the others'.
TEST(Programs, RowsThatCountAsZeroAreAsOnTheCpu) {
  const Batch batch = make_batch(24, 16, 9, 4).to(at::kFloat);
  batch.image[3].zero_();
  batch.text[5].fill_(1e-15);
  LocalCommunicator local;
  for (const std::string& text : objectives()) {
    if (text.find("'local'") != std::string::npos) continue;
    LossObjective cpu(parse_objective(text), TileShape{13, 16}),
        device(parse_objective(text), TileShape{13, 16}, host_loss_device());
    const auto [features, labels] = slice(batch, {24}, 0, at::kFloat);
    const LossResult expected = cpu.evaluate(features, labels, {}, local);
    const LossResult result = device.evaluate(features, labels, {}, local);
    EXPECT_NEAR(result.value, expected.value, 2e-5 * std::max(1.0, std::fabs(expected.value))) << text;
    for (const auto& [got, want] : {std::pair{result.gradient.pairs[0].image, expected.gradient.pairs[0].image},
                                    std::pair{result.gradient.pairs[0].text, expected.gradient.pairs[0].text}}) {
      EXPECT_LE(largest(got - want), 2e-5 * std::max(largest(want), 1e-6)) << text;
    }
    EXPECT_EQ(largest(result.gradient.pairs[0].image[3]), 0) << text;
    EXPECT_EQ(largest(result.gradient.pairs[0].text[5]), 0) << text;
  }
}

Errors errors_at_scale_100(const std::string& text, at::ScalarType dtype) {
  const Batch batch = make_batch(2300, 48, 900, 3).weighted(7).to(dtype);
  const Objective config = parse_objective(text);
  const Answer expected = reference(config, batch, std::log(100.0));
  LocalCommunicator local;
  return errors_on_rank(config, TileShape{}, batch, expected, std::log(100.0), {2300}, dtype, local, local);
}

// A step of the size that small training has: several tiles of the default shape, scale 100.
TEST(Exactness, HoldsAtScale100OverDefaultTiles) {
  const Errors errors = errors_at_scale_100(
      "term { info_nce {} } term { sdm {} } term { weight: 10 triplet {} } term { siglip {} } term { weight: 0.1 cmpm "
      "{} } "
      "term { tal { temperature: 0.01 } }",
      at::kFloat);
  EXPECT_LE(errors.value, kFloatGate);
  EXPECT_LE(errors.gradient, kFloatGate);
}

// In double: of five million hinges some lie within float's rounding of zero, and their gradients on either side.
TEST(Exactness, OfAllNegativesHoldsOverDefaultTiles) {
  const Errors errors = errors_at_scale_100("term { triplet { negatives: ALL } }", at::kDouble);
  EXPECT_LE(errors.value, kDoubleGate);
  EXPECT_LE(errors.gradient, kDoubleGate);
}

double value_at(LossObjective& objective, const Batch& batch, Communicator& communicator) {
  const auto [features, labels] = slice(batch, {batch.identity.size(0)}, 0, at::kDouble);
  return objective.evaluate(features, labels, {}, communicator).value;
}

constexpr double kStep = 1e-5;

// Moves x by the step both ways.
double difference(double& x, const std::function<double()>& value) {
  const double before = x;
  x = before + kStep;
  const double above = value();
  x = before - kStep;
  const double below = value();
  x = before;
  return (above - below) / (2 * kStep);
}

void expect_gradient(const std::string& text, const at::Tensor& rows, const at::Tensor& gradient,
                     const std::function<double()>& value) {
  for (int64_t i = 0; i < rows.numel(); ++i) {
    const double expected = difference(rows.data_ptr<double>()[i], value);
    EXPECT_NEAR(gradient.data_ptr<double>()[i], expected, 2e-7 * std::max(1.0, std::fabs(expected)))
        << text << " element " << i;
  }
}

TEST(FiniteDifferences, AgreeWithEveryGradient) {
  LocalCommunicator local;
  for (const std::string& text : objectives()) {
    if (text.find("self_target") != std::string::npos) continue;  // a constant to the gradient alone
    // Where an anchor has several positives, tal's weights of them are constants to the gradient alone.
    const bool has_tal = text.find("tal") != std::string::npos;
    const Batch batch = make_batch(6, 5, has_tal ? 1000 : 4, 11).weighted(2);
    LossObjective objective(parse_objective(text), TileShape{4, 3, 2, 2});
    double log_scale = 1.2;
    double bias = -1.5;
    const auto value = [&] {
      objective.set_log_scale(log_scale);
      objective.set_logit_bias(bias);
      return value_at(objective, batch, local);
    };
    value();
    const auto [features, labels] = slice(batch, {6}, 0, at::kDouble);
    const LossResult result = objective.evaluate(features, labels, {}, local);
    const std::vector<FeaturePair>& gradients = result.gradient.pairs;
    expect_gradient(text, batch.image, gradients.at(0).image, value);
    expect_gradient(text, batch.text, gradients.at(0).text, value);
    expect_gradient(text, batch.local_image, gradients.at(1).image, value);
    expect_gradient(text, batch.local_text, gradients.at(1).text, value);
    const ParameterGradients parameters = sum_parameters(objective, result, local);
    if (!objective.parameters().empty()) {
      EXPECT_NEAR(parameters.log_scale, difference(log_scale, value), 2e-7) << text;
      EXPECT_NEAR(parameters.bias, objective.uses_logit_bias() ? difference(bias, value) : 0, 2e-7) << text;
    }
  }
}

std::vector<at::Tensor> everything(const LossResult& result) {
  std::vector<at::Tensor> all = {at::full({1}, result.value, at::kDouble)};
  for (const FeaturePair& pair : result.gradient.pairs) {
    all.push_back(pair.image);
    all.push_back(pair.text);
  }
  for (const double term : result.terms) all.push_back(at::full({1}, term, at::kDouble));
  for (const at::Tensor& grad : result.parameter_grads) all.push_back(grad);
  return all;
}

void expect_same_bits(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << "tensor " << i;
}

TEST(Bits, AreThoseOfTheFirstRunAtAnyThreadCount) {
  LocalCommunicator local;
  const Batch batch = make_batch(1111, 64, 300, 23).weighted(1);
  const auto [features, labels] = slice(batch, {1111}, 0, at::kFloat);
  LossObjective objective(parse_objective(objectives().back()), TileShape{256, 300, 64});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto first = everything(objective.evaluate(features, labels, {}, local));
  expect_same_bits(first, everything(objective.evaluate(features, labels, {}, local)));
  for (const int other : {2, 3}) {
    at::set_num_threads(other);
    expect_same_bits(first, everything(objective.evaluate(features, labels, {}, local)));
  }
  at::set_num_threads(threads);
}

TEST(Bits, OfTheValueAreTheSameOnEveryRank) {
  const Batch batch = make_batch(50, 16, 20, 29);
  std::vector<double> values(4);
  run_ranks(4, [&](Communicator& communicator) {
    LossObjective objective(parse_objective(objectives().back()), TileShape{7, 9, 4});
    const auto [features, labels] = slice(batch, split_rows(50, 4), communicator.rank(), at::kFloat);
    values[static_cast<size_t>(communicator.rank())] = objective.evaluate(features, labels, {}, communicator).value;
  });
  for (const double value : values) EXPECT_EQ(value, values[0]);
}

}  // namespace
}  // namespace muster
