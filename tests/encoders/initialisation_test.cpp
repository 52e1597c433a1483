#include <ATen/Parallel.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "trainer/encoders/model.h"

namespace muster {
namespace {

ModelConfig mini() {
  ModelConfig config;
  config.set_preset(ModelConfig::MINI);
  return resolve_model(config);
}

std::map<std::string, at::Tensor> weights(uint64_t seed) {
  std::map<std::string, at::Tensor> tensors;
  const std::shared_ptr<Model> model = make_model(mini(), seed);
  for (const auto& parameter : model->named_parameters()) tensors[parameter.key()] = parameter.value().detach();
  return tensors;
}

// What open_clip gives a model of width 192 with 6 layers; sampling errors are below 5 of their own deviations.
void expect_deviation(const std::map<std::string, at::Tensor>& tensors, const std::string& name, double expected,
                      bool uniform) {
  const at::Tensor values = tensors.at(name).to(at::kDouble);
  const auto count = static_cast<double>(values.numel());
  EXPECT_NEAR(values.std().item<double>(), expected, 5 * expected * std::sqrt((uniform ? 0.2 : 0.5) / count)) << name;
  EXPECT_NEAR(values.mean().item<double>(), 0, 5 * expected / std::sqrt(count)) << name;
  const double fourth = (values / expected).pow(4).mean().item<double>();
  EXPECT_NEAR(fourth, uniform ? 1.8 : 3.0, 60 / std::sqrt(count)) << name;
  if (uniform) {
    EXPECT_LE(values.abs().max().item<double>(), expected * std::sqrt(3.0) * 1.000001) << name;
  }
}

TEST(Initialisation, HasOpenClipsDistributions) {
  const auto tensors = weights(4);
  const double width = 1 / std::sqrt(192.0), third = 1 / std::sqrt(3.0);
  expect_deviation(tensors, "image.class_embedding", width, false);
  expect_deviation(tensors, "image.position_embedding", width, false);
  expect_deviation(tensors, "image.projection", width, false);
  expect_deviation(tensors, "image.patch.weight", third / std::sqrt(3.0 * 8 * 8), true);
  expect_deviation(tensors, "text.token_embedding", 0.02, false);
  expect_deviation(tensors, "text.position_embedding", 0.01, false);
  expect_deviation(tensors, "text.projection", width, false);
  for (const std::string layer : {"0", "5"}) {
    const std::string image = "image.blocks." + layer, text = "text.blocks." + layer;
    expect_deviation(tensors, image + ".attention.qkv.weight", std::sqrt(2.0 / (4 * 192)), true);
    expect_deviation(tensors, image + ".attention.output.weight", third * width, true);
    expect_deviation(tensors, image + ".mlp.expand.weight", third * width, true);
    expect_deviation(tensors, image + ".mlp.contract.weight", third * width / 2, true);
    expect_deviation(tensors, text + ".attention.qkv.weight", width, false);
    expect_deviation(tensors, text + ".attention.output.weight", width / std::sqrt(12.0), false);
    expect_deviation(tensors, text + ".mlp.expand.weight", 1 / std::sqrt(2 * 192.0), false);
    expect_deviation(tensors, text + ".mlp.contract.weight", width / std::sqrt(12.0), false);
    for (const std::string& block : {image, text}) {
      expect_deviation(tensors, block + ".mlp.expand.bias", third * width, true);
      expect_deviation(tensors, block + ".mlp.contract.bias", third * width / 2, true);
      for (const char* zero :
           {".attention.qkv.bias", ".attention.output.bias", ".mlp_norm.bias", ".attention_norm.bias"}) {
        EXPECT_EQ(tensors.at(block + zero).abs().max().item<double>(), 0) << block << zero;
      }
      EXPECT_EQ(tensors.at(block + ".mlp_norm.weight").min().item<double>(), 1);
      EXPECT_EQ(tensors.at(block + ".attention_norm.weight").max().item<double>(), 1);
    }
  }
}

TEST(Initialisation, IsAFunctionOfTheSeedAlone) {
  at::set_num_threads(1);
  const auto first = weights(4);
  at::set_num_threads(2);
  const auto again = weights(4);
  const auto other = weights(5);
  for (const auto& [name, tensor] : first) EXPECT_TRUE(at::equal(tensor, again.at(name))) << name;
  EXPECT_FALSE(at::equal(first.at("text.token_embedding"), other.at("text.token_embedding")));
  // Two tensors of one shape are two streams.
  EXPECT_FALSE(at::equal(first.at("text.blocks.0.mlp.expand.weight"), first.at("text.blocks.1.mlp.expand.weight")));
}

}  // namespace
}  // namespace muster
