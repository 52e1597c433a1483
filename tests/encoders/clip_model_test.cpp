#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "launch/error.h"
#include "tests/support/child_process.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"
#include "trainer/encoders/autocast.h"
#include "trainer/encoders/model.h"

namespace muster {
namespace {

constexpr int64_t kVocabulary = 50;

// Not square, and with towers of different shapes.
ModelConfig tiny(ModelConfig::Activation activation = ModelConfig::GELU) {
  ModelConfig config;
  config.set_preset(ModelConfig::MINI);
  config.set_activation(activation);
  config.mutable_image()->set_height_pixels(24);
  config.mutable_image()->set_width_pixels(8);
  config.mutable_image()->set_patch(4);
  config.mutable_image()->set_width(24);
  config.mutable_image()->set_layers(3);
  config.mutable_image()->set_heads(3);
  config.mutable_text()->set_context(9);
  config.mutable_text()->set_vocabulary(kVocabulary);
  config.mutable_text()->set_width(16);
  config.mutable_text()->set_layers(2);
  config.mutable_text()->set_heads(2);
  config.set_joint_width(12);
  return resolve_model(config);
}

at::Generator generator(uint64_t seed) {
  return at::detail::createCPUGenerator(seed);
}

// Captions of different lengths: start, ids, the end token (the largest id), zeros.
Batch make_batch(int64_t rows, const ModelConfig& config) {
  at::Generator random = generator(3);
  Batch batch;
  batch.images =
      at::randn({rows, 3, config.image().height_pixels(), config.image().width_pixels()}, random, at::kFloat);
  const int64_t context = config.text().context(), end = config.text().vocabulary() - 1;
  batch.tokens = at::randint(1, end - 1, {rows, context}, random, at::kLong);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t place = 1 + row % (context - 1);
    batch.tokens[row].narrow(0, place, context - place).zero_();
    batch.tokens[row][0] = end - 1;
    batch.tokens[row][place] = end;
  }
  batch.position = at::randint(0, int64_t{1} << 40, {rows}, random, at::kLong);
  batch.identity = batch.image_id = batch.position;
  return batch;
}

Batch rows_of(const Batch& batch, int64_t begin, int64_t size) {
  const auto cut = [&](const at::Tensor& t) { return t.narrow(0, begin, size); };
  return {cut(batch.images), cut(batch.tokens), cut(batch.identity), cut(batch.image_id), cut(batch.position)};
}

NamedTensors weights_of(const Model& model) {
  NamedTensors tensors;
  for (const auto& parameter : model.named_parameters())
    tensors.emplace_back(parameter.key(), parameter.value().detach());
  return tensors;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

// Norms and biases away from one and zero, so that leaving one out shows.
void disturb(Model& model) {
  const at::NoGradGuard no_graph;
  at::Generator random = generator(5);
  for (at::Tensor& parameter : model.parameters()) {
    if (parameter.dim() == 1) parameter.add_(at::randn(parameter.sizes(), random, parameter.options()), 0.2);
  }
}

// One thread: the models are tiny, and threads that wait for each other on a busy machine are slow.
class ClipModel : public testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
};

class AgainstNumpy : public ClipModel, public testing::WithParamInterface<ModelConfig::Activation> {};

TEST_P(AgainstNumpy, ForwardIsTheSame) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const ModelConfig config = tiny(GetParam());
  const std::shared_ptr<Model> model = make_model(config, 11);
  disturb(*model);
  const Batch batch = make_batch(10, config);
  const TemporaryFolder folder;
  write_safetensors(folder / "weights", weights_of(*model));
  write_safetensors(folder / "inputs", {{"images", batch.images}, {"tokens", batch.tokens}});
  const ProgramResult made = run_program({reference_python(), MUSTER_SOURCE_DIR "/tests/peers/clip_forward.py",
                                          folder / "weights", folder / "inputs", folder / "out", "4", "3", "2",
                                          GetParam() == ModelConfig::GELU ? "gelu" : "quick_gelu"});
  ASSERT_EQ(made.exit_code, 0) << made.output;
  const NamedTensors expected = read_safetensors(folder / "out");
  const at::Tensor& image = find_tensor(expected, "image", "out");
  const at::Tensor& text = find_tensor(expected, "text", "out");
  const Features features = model->forward(batch, 1);
  ASSERT_EQ(features.pairs.size(), 1U);
  EXPECT_EQ(features.pairs[0].name, "global");
  EXPECT_LE(largest_difference(features.pairs[0].image, image), 1e-5);
  EXPECT_LE(largest_difference(features.pairs[0].text, text), 1e-5);
  EXPECT_LE(largest_difference(model->encode_image(batch), image), 1e-5);
  EXPECT_LE(largest_difference(model->encode_text(batch.tokens), text), 1e-5);
  model->to(at::kDouble);
  const Features precise = model->forward(batch, 1);
  EXPECT_LE(largest_difference(precise.pairs[0].image, image), 1e-12);
  EXPECT_LE(largest_difference(precise.pairs[0].text, text), 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Activations, AgainstNumpy, testing::Values(ModelConfig::GELU, ModelConfig::QUICK_GELU),
                         [](const auto& sample) { return ModelConfig::Activation_Name(sample.param); });

// Sum of the features weighted at random, with dropout on: its masks are keyed, so the function is fixed.
double weighted_sum(Model& model, const Batch& batch, const at::Tensor& image_weight, const at::Tensor& text_weight,
                    bool backward) {
  const Features features = model.forward(batch, 17);
  const at::Tensor sum = (features.pairs[0].image * image_weight).sum() + (features.pairs[0].text * text_weight).sum();
  if (backward) sum.backward();
  return sum.item<double>();
}

TEST_F(ClipModel, GradientsEqualFiniteDifferences) {
  for (const ModelConfig::Activation activation : {ModelConfig::GELU, ModelConfig::QUICK_GELU}) {
    ModelConfig config = tiny(activation);
    config.set_dropout(0.2);
    const std::shared_ptr<Model> model = make_model(config, 2);
    disturb(*model);
    model->to(at::kDouble);
    model->train();
    const Batch batch = make_batch(5, config);
    at::Generator random = generator(9);
    const at::Tensor image_weight = at::randn({5, config.joint_width()}, random, at::kDouble);
    const at::Tensor text_weight = at::randn({5, config.joint_width()}, random, at::kDouble);
    weighted_sum(*model, batch, image_weight, text_weight, true);
    const at::NoGradGuard no_graph;
    for (auto& parameter : model->named_parameters()) {
      at::Tensor value = parameter.value();
      ASSERT_TRUE(value.grad().defined()) << parameter.key();
      // Along one random direction: every element takes part.
      const at::Tensor direction = at::randn(value.sizes(), random, at::kDouble);
      const double step = 1e-5;
      value.add_(direction, step);
      const double above = weighted_sum(*model, batch, image_weight, text_weight, false);
      value.add_(direction, -2 * step);
      const double below = weighted_sum(*model, batch, image_weight, text_weight, false);
      value.add_(direction, step);
      const double expected = (above - below) / (2 * step);
      const double actual = (value.grad() * direction).sum().item<double>();
      EXPECT_NEAR(actual, expected, 1e-6 * std::max(1.0, std::abs(expected))) << parameter.key();
    }
  }
}

TEST_F(ClipModel, WordsAfterTheEndTokenAndPaddingDoNotCount) {
  const ModelConfig config = tiny();
  const std::shared_ptr<Model> model = make_model(config, 1);
  at::Tensor tokens = make_batch(6, config).tokens;
  const at::Tensor alone = model->encode_text(tokens.narrow(0, 2, 1));
  at::Tensor other = tokens.clone();
  other.narrow(0, 2, 1).narrow(1, 4, 5).fill_(7);  // the end token of row 2 is at place 3
  EXPECT_TRUE(at::allclose(model->encode_text(other)[2], alone[0], 1e-5, 1e-6));
  other[2][2] = other[2][2].item<int64_t>() % 40 + 1;
  EXPECT_FALSE(at::allclose(model->encode_text(other)[2], alone[0], 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(model->encode_text(tokens.narrow(0, 2, 1).narrow(1, 0, 4)), alone, 1e-5, 1e-6));
}

TEST_F(ClipModel, ParameterNamesAreThoseOfCheckpoints) {
  ModelConfig config = tiny();
  config.mutable_image()->set_layers(1);
  config.mutable_text()->set_layers(1);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : weights_of(*make_model(config, 1))) names.push_back(name);
  std::vector<std::string> expected = {"image.class_embedding",   "image.position_embedding", "image.projection",
                                       "image.patch.weight",      "image.pre_norm.weight",    "image.pre_norm.bias",
                                       "image.post_norm.weight",  "image.post_norm.bias",     "text.token_embedding",
                                       "text.position_embedding", "text.projection",          "text.final_norm.weight",
                                       "text.final_norm.bias"};
  for (const char* tower : {"image", "text"}) {
    for (const char* layer :
         {"attention_norm", "attention.qkv", "attention.output", "mlp_norm", "mlp.expand", "mlp.contract"}) {
      for (const char* tensor : {"weight", "bias"}) {
        expected.push_back(std::string(tower) + ".blocks.0." + layer + "." + tensor);
      }
    }
  }
  EXPECT_THAT(names, testing::UnorderedElementsAreArray(expected));
}

int64_t parameters_of(const ModelConfig& config) {
  int64_t count = 0;
  for (const at::Tensor& parameter : make_model(config, 1)->parameters()) count += parameter.numel();
  return count;
}

// OpenAI's published counts, without the logit scale, which belongs to the objective.
TEST_F(ClipModel, PresetsHaveThePublishedParameterCounts) {
  ModelConfig config;
  config.set_preset(ModelConfig::VIT_B_32);
  EXPECT_EQ(parameters_of(resolve_model(config)), 151277313 - 1);
  config.set_preset(ModelConfig::VIT_B_16);
  EXPECT_EQ(parameters_of(resolve_model(config)), 149620737 - 1);
  config.set_preset(ModelConfig::VIT_S_16);  // as open_clip 2.32 builds it
  EXPECT_EQ(parameters_of(resolve_model(config)), 62257537 - 1);
}

TEST_F(ClipModel, SlowLargePresetHasThePublishedParameterCount) {
  ModelConfig config;
  config.set_preset(ModelConfig::VIT_L_14);
  EXPECT_EQ(parameters_of(resolve_model(config)), 427616513 - 1);
}

TEST_F(ClipModel, LayersAboveCountFromTheFeaturesDown) {
  const ModelConfig config = tiny();  // 3 image and 2 text blocks
  const std::shared_ptr<Model> model = make_model(config, 1);
  const std::map<std::string, int64_t> above = model->layers_above();
  EXPECT_EQ(above.size(), model->named_parameters().size());
  const std::map<std::string, int64_t> expected = {{"image.projection", 0},
                                                   {"image.post_norm.weight", 0},
                                                   {"image.blocks.2.mlp.contract.bias", 1},
                                                   {"image.blocks.0.attention_norm.weight", 3},
                                                   {"image.pre_norm.bias", 4},
                                                   {"image.patch.weight", 4},
                                                   {"image.class_embedding", 4},
                                                   {"image.position_embedding", 4},
                                                   {"text.final_norm.bias", 0},
                                                   {"text.projection", 0},
                                                   {"text.blocks.1.attention.qkv.weight", 1},
                                                   {"text.blocks.0.mlp.expand.weight", 2},
                                                   {"text.token_embedding", 3},
                                                   {"text.position_embedding", 3}};
  for (const auto& [name, layers] : expected) EXPECT_EQ(above.at(name), layers) << name;
}

TEST_F(ClipModel, Bf16IsNearFloat32AndWeightsStayFloat32) {
  ModelConfig config = tiny();
  config.set_dropout(0.2);
  const std::shared_ptr<Model> model = make_model(config, 11);
  disturb(*model);
  model->train();
  const Batch batch = make_batch(10, config);
  const auto run = [&](bool bf16) {
    model->zero_grad();
    Features features;
    {
      const Bf16Scope precision(bf16, at::kCPU);
      features = model->forward(batch, 17);
    }
    EXPECT_EQ(features.pairs[0].image.scalar_type(), at::kFloat);
    EXPECT_EQ(features.pairs[0].text.scalar_type(), at::kFloat);
    (features.pairs[0].image.square().sum() + features.pairs[0].text.square().sum()).backward();
    return features.pairs[0];
  };
  const FeaturePair exact = run(false);
  NamedTensors gradients;
  for (const auto& parameter : model->named_parameters()) {
    gradients.emplace_back(parameter.key(), parameter.value().grad().clone());
  }
  const FeaturePair half = run(true);
  // bfloat16 has 8 bits: another rounding everywhere, the same dropout masks.
  const double image_error = largest_difference(half.image, exact.image) / exact.image.abs().max().item<double>();
  const double text_error = largest_difference(half.text, exact.text) / exact.text.abs().max().item<double>();
  EXPECT_GT(image_error, 1e-4);
  EXPECT_LT(image_error, 0.03);
  EXPECT_GT(text_error, 1e-4);
  EXPECT_LT(text_error, 0.03);
  for (const auto& [name, expected] : gradients) {
    const at::Tensor gradient = model->named_parameters()[name].grad();
    EXPECT_EQ(gradient.scalar_type(), at::kFloat) << name;
    const double norm = expected.norm().item<double>();
    EXPECT_LT((gradient - expected).norm().item<double>(), 0.1 * norm + 1e-3) << name;
  }
  // The scope is over: the same bits as before it.
  EXPECT_TRUE(at::equal(run(false).image, exact.image));
}

TEST_F(ClipModel, ConfigErrorsNameTheFields) {
  const auto error_of = [](const ModelConfig& config) -> std::string {
    try {
      resolve_model(config);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "none";
  };
  EXPECT_THAT(error_of({}), testing::AllOf(testing::HasSubstr("model.image.patch is missing"),
                                           testing::HasSubstr("model.text.context is missing"),
                                           testing::HasSubstr("model.activation is missing")));
  ModelConfig config = tiny();
  config.mutable_image()->set_patch(5);
  EXPECT_THAT(error_of(config),
              testing::AllOf(testing::HasSubstr("model.image.patch (5) must divide model.image.width_pixels (8)"),
                             testing::HasSubstr("model.image.height_pixels (24)")));
  config = tiny();
  config.mutable_text()->set_heads(3);
  config.set_dropout(1);
  EXPECT_THAT(error_of(config),
              testing::AllOf(testing::HasSubstr("model.text.heads (3) must divide model.text.width (16)"),
                             testing::HasSubstr("model.dropout is 1")));
  config = tiny();
  config.set_joint_width(-4);
  EXPECT_THAT(error_of(config), testing::HasSubstr("model.joint_width is -4"));
  EXPECT_EQ(error_of(tiny()), "none");
}

TEST_F(ClipModel, RefusesInputsThatDoNotFit) {
  const ModelConfig config = tiny();
  const std::shared_ptr<Model> model = make_model(config, 1);
  at::Tensor tokens = make_batch(3, config).tokens;
  tokens[1][2] = kVocabulary;
  EXPECT_THROW(model->encode_text(tokens), ConfigError);
  tokens[1][2] = -1;
  EXPECT_THROW(model->encode_text(tokens), ConfigError);
  EXPECT_THROW(model->encode_text(at::zeros({2, 10}, at::kLong)), ConfigError);
  Batch wide;
  wide.images = at::zeros({2, 3, 8, 24});
  EXPECT_THROW(model->encode_image(wide), ConfigError);
}

TEST_F(ClipModel, ABatchWithoutRowsGivesNoFeatures) {
  const ModelConfig config = tiny();
  const std::shared_ptr<Model> model = make_model(config, 1);
  const Features features = model->forward(rows_of(make_batch(2, config), 0, 0), 1);
  EXPECT_EQ(features.pairs[0].image.sizes(), (std::vector<int64_t>{0, 12}));
  EXPECT_EQ(features.pairs[0].text.sizes(), (std::vector<int64_t>{0, 12}));
}

TEST_F(ClipModel, DropoutDoesNotDependOnHowTheBatchIsCut) {
  ModelConfig config = tiny();
  config.set_dropout(0.3);
  const std::shared_ptr<Model> model = make_model(config, 1);
  model->train();
  const Batch batch = make_batch(11, config);
  const Features whole = model->forward(batch, 5);
  EXPECT_TRUE(at::equal(model->forward(batch, 5).pairs[0].image, whole.pairs[0].image));
  for (const int64_t size : {1, 3, 4}) {
    for (int64_t begin = 0; begin < batch.size(); begin += size) {
      const int64_t rows = std::min(size, batch.size() - begin);
      const Features part = model->forward(rows_of(batch, begin, rows), 5);
      EXPECT_LE(largest_difference(part.pairs[0].image, whole.pairs[0].image.narrow(0, begin, rows)), 1e-5);
      EXPECT_LE(largest_difference(part.pairs[0].text, whole.pairs[0].text.narrow(0, begin, rows)), 1e-5);
    }
  }
  EXPECT_GT(largest_difference(model->forward(batch, 6).pairs[0].image, whole.pairs[0].image), 0.01);
  Batch moved = batch;
  moved.position = batch.position + 1;
  EXPECT_GT(largest_difference(model->forward(moved, 5).pairs[0].text, whole.pairs[0].text), 0.01);
  model->eval();
  EXPECT_TRUE(at::equal(model->forward(batch, 5).pairs[0].image, model->encode_image(batch)));
  EXPECT_TRUE(at::equal(model->forward(batch, 5).pairs[0].text, model->encode_text(batch.tokens)));
}

TEST_F(ClipModel, TextTokensAreThoseOfThePassAndEndInTheFeature) {
  ModelConfig config = tiny();
  config.set_dropout(0.3);
  const std::shared_ptr<Model> model = make_model(config, 1);
  disturb(*model);
  const Batch batch = make_batch(5, config);  // end tokens at 1 to 5 of 9 places
  const std::vector<at::Tensor> whole = {model->forward(batch, 5, {true, false}).text_tokens,
                                         model->forward(batch, 5, {true, true}).text_tokens};
  EXPECT_EQ(whole[0].sizes(), (std::vector<int64_t>{5, 6, 12}));
  EXPECT_EQ(whole[1].sizes(), (std::vector<int64_t>{5, 9, 12}));
  EXPECT_FALSE(model->forward(batch, 5).text_tokens.defined());
  for (const bool training : {false, true}) {
    model->train(training);
    for (const bool padding : {false, true}) {
      const Features features = model->forward(batch, 5, {true, padding});
      for (int64_t row = 0; row < 5; ++row) {
        EXPECT_TRUE(at::equal(features.text_tokens[row][1 + row], features.pairs[0].text[row]));
      }
      // Of one caption alone, whatever stands beside it; in evaluation what the other passes give.
      const Features alone = model->forward(rows_of(batch, 2, 1), 5, {true, padding});
      EXPECT_LE(largest_difference(alone.text_tokens[0].narrow(0, 0, 4), features.text_tokens[2].narrow(0, 0, 4)),
                1e-5);
      if (training) continue;
      EXPECT_LE(largest_difference(features.pairs[0].text, model->encode_text(batch.tokens)), 1e-5);
      EXPECT_LE(largest_difference(features.text_tokens, model->text_tokens(batch, 5, padding)), 1e-5);
    }
  }
}

TEST_F(ClipModel, ImageTokensOfThePassBeginWithTheFeature) {
  ModelConfig config = tiny();
  config.set_dropout(0.3);
  const std::shared_ptr<Model> model = make_model(config, 1);
  disturb(*model);
  const Batch batch = make_batch(5, config);
  EXPECT_FALSE(model->forward(batch, 5, {true, true}).image_tokens.defined());
  for (const bool training : {false, true}) {
    model->train(training);
    const Features features = model->forward(batch, 5, {false, false, true});
    EXPECT_FALSE(features.text_tokens.defined());
    EXPECT_EQ(features.image_tokens.sizes(), (std::vector<int64_t>{5, 13, 12}));
    EXPECT_TRUE(at::equal(features.image_tokens.select(1, 0), features.pairs[0].image));
    // The same feature as without tokens, the same tokens as of all patches apart.
    EXPECT_LE(largest_difference(features.pairs[0].image, model->forward(batch, 5).pairs[0].image), 1e-5);
    if (training) continue;
    const at::Tensor all = at::arange(12).expand({5, 12});
    EXPECT_LE(largest_difference(features.image_tokens, model->image_tokens(batch, all, 1)), 1e-5);
  }
}

TEST_F(ClipModel, ImageTokensAreOfTheKeptPatchesAlone) {
  const ModelConfig config = tiny();  // 6 x 2 patches of 4 x 4
  const std::shared_ptr<Model> model = make_model(config, 1);
  disturb(*model);
  const Batch batch = make_batch(2, config);
  const at::Tensor all = at::arange(12).expand({2, 12});
  const at::Tensor feature = model->image_tokens(batch, all, 1).select(1, 0);
  EXPECT_LE(largest_difference(feature, model->encode_image(batch)), 1e-5);

  const at::Tensor kept = at::tensor(std::vector<int64_t>{3, 8, 0, 11, 2, 4}).view({2, 3});
  const at::Tensor tokens = model->image_tokens(batch, kept, 1);
  EXPECT_EQ(tokens.sizes(), (std::vector<int64_t>{2, 4, 12}));
  // In another order the same tokens.
  const at::Tensor turned = model->image_tokens(batch, kept.flip(1), 1);
  EXPECT_LE(largest_difference(turned.narrow(1, 1, 3).flip(1), tokens.narrow(1, 1, 3)), 1e-5);
  // Patch 3 is in row 1, column 1; patch 2 beside it is not seen in the first image.
  Batch changed = batch;
  changed.images = batch.images.clone();
  changed.images[0].narrow(1, 4, 4).narrow(2, 0, 4).add_(1);
  EXPECT_TRUE(at::equal(model->image_tokens(changed, kept, 1), tokens));
  changed.images[0].narrow(1, 4, 4).narrow(2, 4, 4).add_(1);
  const at::Tensor other = model->image_tokens(changed, kept, 1);
  EXPECT_GT(largest_difference(other[0], tokens[0]), 0.01);
  EXPECT_TRUE(at::equal(other[1], tokens[1]));
}

TEST_F(ClipModel, AModelLargerThanTheMachineIsRefused) {
  ModelConfig config;
  config.set_preset(ModelConfig::MINI);
  config.mutable_image()->set_width(16384);
  config.mutable_image()->set_heads(4);
  config.mutable_image()->set_layers(512);
  config = resolve_model(config);
  EXPECT_THROW(make_model(config, 1), ConfigError);
}

}  // namespace
}  // namespace muster
