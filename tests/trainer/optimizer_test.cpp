#include "trainer/optimizer.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "dataloader/random.h"
#include "launch/error.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;

at::Tensor drawn(at::IntArrayRef shape, at::ScalarType type, uint64_t key) {
  at::Tensor tensor = at::empty(shape, at::TensorOptions(at::kDouble));
  KeyedRandom random(11, key, 1U);
  for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data_ptr<double>()[i] = random.next_normal();
  return tensor.to(type);
}

// Parameters whose gradients are views into one flat bucket, as GradientReducer makes them.
struct Toy {
  explicit Toy(at::ScalarType type) {
    const std::vector<std::pair<std::string, std::vector<int64_t>>> shapes = {
        {"image.blocks.0.attention.qkv.weight", {37, 19}},
        {"image.blocks.0.attention.qkv.bias", {37}},
        {"image.norm.weight", {23}},
        {"text.token_embedding.weight", {301, 7}},
        {"text.projection", {7, 5}},
        {"objective.log_scale", {}}};
    int64_t total = 0;
    for (const auto& [name, shape] : shapes) {
      parameters.emplace_back(name, drawn(shape, type, parameters.size()).requires_grad_());
      total += parameters.back().second.numel();
    }
    bucket = at::zeros({total + 3}, at::TensorOptions(type));
    int64_t offset = 3;
    for (auto& [name, parameter] : parameters) {
      parameter.mutable_grad() = bucket.narrow(0, offset, parameter.numel()).view(parameter.sizes());
      offset += parameter.numel();
    }
  }

  void draw_gradients(uint64_t step) { bucket.copy_(drawn(bucket.sizes(), at::kDouble, 100 + step)); }

  NamedParameters parameters;
  at::Tensor bucket;
};

OptimizerConfig config_of(OptimizerConfig::Kind kind) {
  OptimizerConfig config;
  config.set_kind(kind);
  config.set_rate(3e-3);
  config.set_weight_decay(0.2);
  ParameterGroup* embedding = config.add_group();
  embedding->set_name("*token_embedding*");
  embedding->set_rate_multiplier(0.1);
  embedding->set_weight_decay(0.05);
  ParameterGroup* text = config.add_group();
  text->set_name("text.*");
  text->set_rate_multiplier(2);
  return config;
}

struct Hyper {
  double rate, decay;
};

// What config_of() means for each parameter, by hand.
Hyper hyper_of(const std::string& name) {
  if (name == "text.token_embedding.weight") return {3e-4, 0.05};
  if (name == "text.projection") return {6e-3, 0.2};
  if (name == "image.blocks.0.attention.qkv.weight") return {3e-3, 0.2};
  return {3e-3, 0};
}

// The textbook formulas on plain doubles.
struct Reference {
  explicit Reference(const Toy& toy) {
    for (const auto& [name, parameter] : toy.parameters) {
      const at::Tensor flat = parameter.detach().to(at::kDouble).reshape({-1}).contiguous();
      p[name].assign(flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel());
      m[name].resize(p[name].size());
      v[name].resize(p[name].size());
    }
  }

  void step(const Toy& toy, OptimizerConfig::Kind kind, double factor, double scale) {
    ++t;
    for (const auto& [name, parameter] : toy.parameters) {
      const at::Tensor gradients = parameter.grad().to(at::kDouble).reshape({-1}).contiguous();
      const Hyper hyper = hyper_of(name);
      const double rate = hyper.rate * factor;
      for (size_t i = 0; i < p[name].size(); ++i) {
        double g = gradients.data_ptr<double>()[i] * scale;
        double& x = p[name][i];
        if (kind == OptimizerConfig::ADAMW) x -= rate * hyper.decay * x;
        if (kind != OptimizerConfig::ADAMW) g += hyper.decay * x;
        if (kind == OptimizerConfig::SGD) {
          x -= rate * g;
          continue;
        }
        m[name][i] = 0.9 * m[name][i] + 0.1 * g;
        v[name][i] = 0.98 * v[name][i] + 0.02 * g * g;
        const double m_hat = m[name][i] / (1 - std::pow(0.9, t)), v_hat = v[name][i] / (1 - std::pow(0.98, t));
        x -= rate * m_hat / (std::sqrt(v_hat) + 1e-6);
      }
    }
  }

  double worst_difference(const Toy& toy) const {
    double worst = 0;
    for (const auto& [name, parameter] : toy.parameters) {
      const at::Tensor flat = parameter.detach().to(at::kDouble).reshape({-1}).contiguous();
      for (size_t i = 0; i < p.at(name).size(); ++i) {
        worst = std::max(worst, std::abs(flat.data_ptr<double>()[i] - p.at(name)[i]));
      }
    }
    return worst;
  }

  int t = 0;
  std::map<std::string, std::vector<double>> p, m, v;
};

class OptimizerKindTest : public testing::TestWithParam<std::tuple<OptimizerConfig::Kind, at::ScalarType>> {};

TEST_P(OptimizerKindTest, EqualsTheFormulaInDouble) {
  const auto [kind, type] = GetParam();
  Toy toy(type);
  Reference reference(toy);
  Optimizer optimizer(toy.parameters, config_of(kind));
  for (uint64_t step = 0; step < 20; ++step) {
    toy.draw_gradients(step);
    const double factor = 1.0 / static_cast<double>(step + 1), scale = step % 3 == 0 ? 1.0 : 0.37;
    reference.step(toy, kind, factor, scale);
    optimizer.step(factor, scale);
  }
  EXPECT_LT(reference.worst_difference(toy), type == at::kDouble ? 1e-13 : 4e-6);
}

INSTANTIATE_TEST_SUITE_P(All, OptimizerKindTest,
                         testing::Combine(testing::Values(OptimizerConfig::ADAMW, OptimizerConfig::ADAM_L2,
                                                          OptimizerConfig::SGD),
                                          testing::Values(at::kFloat, at::kDouble)));

TEST(OptimizerTest, SameBitsAgainAndAtAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  std::vector<Toy> runs;
  for (const int count : {1, 1, 2}) {
    at::set_num_threads(count);
    Toy& toy = runs.emplace_back(at::kFloat);
    Optimizer optimizer(toy.parameters, config_of(OptimizerConfig::ADAMW));
    for (uint64_t step = 0; step < 5; ++step) {
      toy.draw_gradients(step);
      optimizer.step(1, 0.5);
    }
  }
  at::set_num_threads(threads);
  for (size_t i = 0; i < runs[0].parameters.size(); ++i) {
    EXPECT_TRUE(at::equal(runs[0].parameters[i].second, runs[1].parameters[i].second)) << runs[0].parameters[i].first;
    EXPECT_TRUE(at::equal(runs[0].parameters[i].second, runs[2].parameters[i].second)) << runs[0].parameters[i].first;
  }
}

TEST(OptimizerTest, ALoadedStateGoesOnBitForBit) {
  Toy unbroken(at::kFloat), resumed(at::kFloat);
  const OptimizerConfig config = config_of(OptimizerConfig::ADAMW);
  Optimizer first(unbroken.parameters, config);
  NamedTensors saved;
  for (uint64_t step = 0; step < 6; ++step) {
    if (step == 3) {
      for (const auto& [name, tensor] : first.state()) saved.emplace_back(name, tensor.clone());
      for (size_t i = 0; i < resumed.parameters.size(); ++i) {
        resumed.parameters[i].second.detach().copy_(unbroken.parameters[i].second.detach());
      }
    }
    unbroken.draw_gradients(step);
    first.step(0.5, 1);
  }
  Optimizer second(resumed.parameters, config);
  second.load_state(saved, "x");
  for (uint64_t step = 3; step < 6; ++step) {
    resumed.draw_gradients(step);
    second.step(0.5, 1);
  }
  for (size_t i = 0; i < resumed.parameters.size(); ++i) {
    EXPECT_TRUE(at::equal(resumed.parameters[i].second, unbroken.parameters[i].second));
  }
}

TEST(OptimizerTest, StateIsNamedAfterTheParameters) {
  Toy toy(at::kFloat);
  const NamedTensors state = Optimizer(toy.parameters, config_of(OptimizerConfig::ADAMW)).state();
  ASSERT_EQ(state.size(), 3 * toy.parameters.size());
  EXPECT_EQ(state[0].first, "image.blocks.0.attention.qkv.weight.exp_avg");
  EXPECT_EQ(state[1].first, "image.blocks.0.attention.qkv.weight.exp_avg_sq");
  EXPECT_EQ(state[2].first, "image.blocks.0.attention.qkv.weight.step");
  EXPECT_EQ(state[0].second.sizes(), toy.parameters[0].second.sizes());
  EXPECT_EQ(state[2].second.dim(), 0);
}

std::string refusal(Optimizer& optimizer, const NamedTensors& state) {
  try {
    optimizer.load_state(state, "run/optimizer.safetensors");
  } catch (const DataError& error) {
    return error.what();
  }
  return "taken";
}

TEST(OptimizerTest, RefusesTheStateOfAnotherModelAndChangesNothing) {
  Toy toy(at::kFloat);
  Optimizer optimizer(toy.parameters, config_of(OptimizerConfig::ADAMW));
  NamedTensors state;
  for (const auto& [name, tensor] : optimizer.state()) state.emplace_back(name, tensor.add(1));

  NamedTensors missing(state.begin(), state.end() - 1);
  EXPECT_THAT(refusal(optimizer, missing), AllOf(HasSubstr("run/optimizer.safetensors"), HasSubstr("log_scale.step")));
  NamedTensors extra = state;
  extra.emplace_back("other.exp_avg", at::zeros({2}));
  EXPECT_THAT(refusal(optimizer, extra), HasSubstr("other.exp_avg"));
  NamedTensors reshaped = state;
  reshaped[0].second = at::zeros({19, 37});
  EXPECT_THAT(refusal(optimizer, reshaped), AllOf(HasSubstr("Float [19,37]"), HasSubstr("Float [37,19]")));
  for (const auto& [name, tensor] : optimizer.state()) EXPECT_EQ(tensor.count_nonzero().item<int64_t>(), 0) << name;
  EXPECT_EQ(refusal(optimizer, state), "taken");
}

std::string group_error(const std::string& glob) {
  Toy toy(at::kFloat);
  OptimizerConfig config;
  config.add_group()->set_name(glob);
  try {
    const Optimizer optimizer(toy.parameters, config);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "taken";
}

TEST(OptimizerTest, AGlobThatMatchesNothingIsRefused) {
  EXPECT_EQ(group_error("heads.*"), "taken");  // there are none
  EXPECT_EQ(group_error("image.block.*"),
            "train.optimizer.group \"image.block.*\" matches none of the 6 trained parameters (such as "
            "image.blocks.0.attention.qkv.weight): did you mean \"image.blocks.*\"?");
  EXPECT_THAT(group_error("*.tokenembedding.weight"), HasSubstr("did you mean \"*.token_embedding.weight\"?"));
  EXPECT_THAT(group_error("zzzzzz"), testing::EndsWith("qkv.weight)"));
  EXPECT_EQ(group_error("image.blocks.?.*"), "taken");
  EXPECT_EQ(group_error("*"), "taken");
}

TEST(OptimizerTest, FirstMatchingGroupDecidesWhatIsFrozen) {
  OptimizerConfig config;
  config.add_group()->set_name("image.norm.*");
  config.add_group()->set_name("image.*");
  config.mutable_group(1)->set_freeze(true);
  EXPECT_FALSE(is_frozen("image.norm.weight", config));
  EXPECT_TRUE(is_frozen("image.blocks.0.mlp.weight", config));
  EXPECT_FALSE(is_frozen("text.image.weight", config));
  EXPECT_THROW(check_all_groups({"text.a", "image.norm.b"},
                                [&] {
                                  config.mutable_group(1)->set_name("imge.*");
                                  return config;
                                }()),
               ConfigError);
}

TEST(OptimizerTest, DecayLeavesOutBiasesGainsAndTheScaleUnlessToldOtherwise) {
  OptimizerConfig config;
  const at::Tensor matrix = at::zeros({2, 2}), vector = at::zeros({2});
  EXPECT_EQ(weight_decay("a.weight", matrix, config), 0.2);
  EXPECT_EQ(weight_decay("a.bias", vector, config), 0);
  EXPECT_EQ(weight_decay("objective.log_scale", at::zeros({}), config), 0);
  config.set_decay_all(true);
  EXPECT_EQ(weight_decay("a.bias", vector, config), 0.2);
  OptimizerConfig sgd;
  sgd.set_kind(OptimizerConfig::SGD);
  EXPECT_EQ(weight_decay("a.weight", matrix, sgd), 0);
  sgd.set_weight_decay(0.1);
  EXPECT_EQ(weight_decay("a.weight", matrix, sgd), 0.1);
}

TEST(OptimizerTest, DescribesItsGroups) {
  Toy toy(at::kFloat);
  const Optimizer optimizer(toy.parameters, config_of(OptimizerConfig::ADAMW));
  EXPECT_THAT(optimizer.describe_groups(),
              testing::ElementsAre("the rest: 4 tensors, 764 parameters, rate 0.003, decay 0.2 (3 tensors without)",
                                   "*token_embedding*: 1 tensors, 2107 parameters, rate 0.0003, decay 0.05",
                                   "text.*: 1 tensors, 35 parameters, rate 0.006, decay 0.2"));
}

// One step of SGD with gradient 1 shows each parameter's rate.
TEST(OptimizerTest, LayerDecayMultipliesTheRatesOfLowerLayers) {
  Toy toy(at::kDouble);
  OptimizerConfig config;
  config.set_kind(OptimizerConfig::SGD);
  config.set_rate(0.5);
  config.set_layer_decay(0.75);
  config.add_group()->set_name("image.norm.*");
  config.mutable_group(0)->set_rate_multiplier(2);
  const LayersAbove layers = {
      {"image.blocks.0.attention.qkv.weight", 1}, {"image.norm.weight", 0}, {"text.token_embedding.weight", 3}};
  Optimizer optimizer(toy.parameters, config, layers);
  std::vector<at::Tensor> before;
  for (const auto& parameter : toy.parameters) before.push_back(parameter.second.detach().clone());
  toy.bucket.fill_(1);
  optimizer.step(1, 1);
  const std::vector<double> rates = {0.5 * 0.75, 0.5, 1, 0.5 * 0.75 * 0.75 * 0.75, 0.5, 0.5};
  for (size_t i = 0; i < rates.size(); ++i) {
    const double moved = (before[i] - toy.parameters[i].second).max().item<double>();
    EXPECT_NEAR(moved, rates[i], 1e-12) << toy.parameters[i].first;
  }
  EXPECT_THAT(optimizer.describe_groups(),
              testing::ElementsAre("the rest: 5 tensors, 2883 parameters, rate 0.210938 to 0.5, decay 0",
                                   "image.norm.*: 1 tensors, 23 parameters, rate 1, decay 0",
                                   "layer decay 0.75: rates from the features down 0.5 0.375 0.281 0.211"));
}

TEST(OptimizerTest, AMissingGradientIsOurBug) {
  Toy toy(at::kFloat);
  Optimizer optimizer(toy.parameters, config_of(OptimizerConfig::ADAMW));
  toy.parameters[2].second.mutable_grad().reset();
  EXPECT_THROW(optimizer.step(1, 1), std::logic_error);
}

TEST(GlobalNormTest, EqualsTheSumInLongDoubleAtAnyNumberOfThreads) {
  NamedParameters parameters;
  long double sum = 0;
  for (const int64_t size : {1, 15, 16, 17, 32768, 32769, 500000, 0}) {
    const at::ScalarType type = size == 17 ? at::kDouble : at::kFloat;
    at::Tensor parameter = at::zeros({size}, at::TensorOptions(type)).requires_grad_();
    parameter.mutable_grad() = drawn({size}, type, static_cast<uint64_t>(size));
    const at::Tensor values = parameter.grad().to(at::kDouble);
    for (int64_t i = 0; i < size; ++i) {
      const long double value = values.data_ptr<double>()[i];
      sum += value * value;
    }
    parameters.emplace_back(std::to_string(size), parameter);
  }
  parameters.emplace_back("no gradient", at::zeros({3}).requires_grad_());
  const int threads = at::get_num_threads();
  std::vector<double> norms;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    norms.push_back(global_norm(parameters));
  }
  at::set_num_threads(threads);
  EXPECT_NEAR(norms[0], static_cast<double>(std::sqrt(sum)), 1e-12 * norms[0]);
  EXPECT_EQ(norms[0], norms[1]);
  EXPECT_EQ(norms[0], norms[2]);
}

TEST(GlobalNormTest, SaysWhenAGradientIsNotFinite) {
  NamedParameters parameters = {{"a", at::zeros({40}).requires_grad_()}};
  parameters[0].second.mutable_grad() = at::zeros({40});
  parameters[0].second.grad()[33] = INFINITY;
  EXPECT_FALSE(std::isfinite(global_norm(parameters)));
  parameters[0].second.grad()[33] = NAN;
  EXPECT_FALSE(std::isfinite(global_norm(parameters)));
}

}  // namespace
}  // namespace muster
