// What a model costs by its config against the model itself, LibTorch's allocator and dispatcher, and open_clip's
// published profile.
#include "trainer/encoders/model_cost.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>

#include "tests/support/allocated_bytes.h"
#include "tests/support/counted_flop.h"
#include "trainer/encoders/autocast.h"
#include "trainer/encoders/model.h"
#include "trainer/encoders/region_config.h"

namespace muster {
namespace {

// Not square, and with towers of different shapes.
ModelConfig small(ModelConfig::Activation activation, double dropout = 0) {
  ModelConfig config;
  config.set_preset(ModelConfig::MINI);
  config.set_activation(activation);
  config.set_dropout(dropout);
  config.mutable_image()->set_height_pixels(48);
  config.mutable_image()->set_width_pixels(16);
  config.mutable_image()->set_patch(4);
  config.mutable_image()->set_width(96);
  config.mutable_image()->set_layers(3);
  config.mutable_image()->set_heads(3);
  config.mutable_text()->set_context(20);
  config.mutable_text()->set_vocabulary(50);
  config.mutable_text()->set_width(64);
  config.mutable_text()->set_layers(2);
  config.mutable_text()->set_heads(2);
  config.set_joint_width(40);
  return resolve_model(config);
}

ModelConfig selecting(ModelConfig config) {
  config.mutable_token_selection()->set_width(28);
  return resolve_model(config);
}

// Captions whose end token is the last of `tokens`.
Batch make_batch(const ModelConfig& config, int64_t rows, int64_t tokens) {
  at::Generator generator = at::detail::createCPUGenerator(1);
  Batch batch;
  batch.images = at::randn({rows, 3, config.image().height_pixels(), config.image().width_pixels()}, generator);
  batch.tokens = at::randint(1, 40, {rows, config.text().context()}, generator, at::kLong);
  batch.tokens.narrow(1, tokens, config.text().context() - tokens).zero_();
  batch.tokens.select(1, tokens - 1).fill_(49);
  batch.position = batch.identity = batch.image_id = at::arange(rows, at::kLong);
  return batch;
}

ModelConfig of_regions(bool shared) {
  ModelConfig config;
  RegionModelConfig& regions = *config.mutable_regions();
  regions.set_width(16);
  regions.set_layers(2);
  regions.set_hidden(20);
  regions.set_joint_hidden(12);
  regions.set_shared_joint(shared);
  regions.set_text_positions(12);
  config.mutable_text()->set_context(10);
  config.mutable_text()->set_vocabulary(40);
  config.mutable_text()->set_width(12);
  config.mutable_text()->set_layers(2);
  config.mutable_text()->set_heads(3);
  config.set_joint_width(8);
  return resolve_model(config);
}

TEST(ModelCost, ParametersAreThoseOfTheModel) {
  ModelConfig mini;
  mini.set_preset(ModelConfig::MINI);
  for (const ModelConfig& config : {resolve_model(mini), small(ModelConfig::GELU), selecting(small(ModelConfig::GELU)),
                                    of_regions(false), of_regions(true)}) {
    const std::vector<ParameterSize> sizes = parameter_sizes(config);
    const auto model = make_model(config, 1);
    const auto parameters = model->named_parameters();
    ASSERT_EQ(sizes.size(), parameters.size());
    int64_t count = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      EXPECT_EQ(sizes[i].name, parameters[i].key());
      EXPECT_EQ(sizes[i].count, parameters[i].value().numel()) << sizes[i].name;
      count += sizes[i].count;
    }
    EXPECT_EQ(count_parameters(config), count);
    int64_t buffers = 0;
    for (const at::Tensor& buffer : model->buffers()) buffers += buffer.numel();
    EXPECT_EQ(count_buffers(config), buffers);
  }
}

// docs/model_profile.csv of github.com/mlfoundations/open_clip at 3b37473, by fvcore: millions of parameters and GFLOP
// of a forward of both towers, of the image's and of the text's. It gives two decimals.
TEST(ModelCost, AgreesWithOpenClipsProfile) {
  struct Profile {
    ModelConfig::Preset preset;
    double parameters, both, image, text;
  };
  for (const Profile& profile : {Profile{ModelConfig::VIT_B_32, 151.28, 14.78, 8.82, 5.96},
                                 Profile{ModelConfig::VIT_B_16, 149.62, 41.09, 35.13, 5.96},
                                 Profile{ModelConfig::VIT_S_16, 62.26, 12.58, 9.2, 3.38},
                                 Profile{ModelConfig::VIT_L_14, 427.62, 175.33, 162.03, 13.3}}) {
    ModelConfig config;
    config.set_preset(profile.preset);
    config = resolve_model(config);
    const double image = 1e-9 * image_flop(config).whole_forward, text = 1e-9 * text_flop(config, 77).whole_forward;
    const std::string name = ModelConfig::Preset_Name(profile.preset);
    EXPECT_NEAR(1e-6 * static_cast<double>(count_parameters(config)), profile.parameters, 0.006) << name;
    EXPECT_NEAR(image, profile.image, 0.002 * profile.image) << name;
    EXPECT_NEAR(text, profile.text, 0.002 * profile.text) << name;
    EXPECT_NEAR(image + text, profile.both, 0.002 * profile.both) << name;
  }
}

TEST(ModelCost, FlopOfRegionsAndWordsAreThoseOfTheProductsThatAreMade) {
  const int64_t rows = 3, tokens = 10;
  const ModelConfig config = of_regions(false);
  const auto model = make_model(config, 1);
  at::Generator generator = at::detail::createCPUGenerator(1);
  Batch batch;
  batch.region_counts = at::full({rows}, 36, at::kLong);
  batch.regions = at::randn({rows * 36, 16}, generator).to(at::kHalf);
  batch.boxes = at::randn({rows * 36, 5}, generator);
  batch.tokens = at::randint(1, 40, {rows, tokens}, generator, at::kLong);
  batch.position = at::arange(rows, at::kLong);
  const TowerFlop image = region_flop(config), text = word_flop(config, tokens);
  // The token of the whole is one row for all images.
  const double whole = 2 * (16 * (16 + 5) + 16 * 16);
  CountedFlop counted;
  const Features features = model->forward(batch, 1);
  EXPECT_DOUBLE_EQ(counted.take(), rows * (image.forward + text.forward) + whole);
  at::Tensor sum = features.pairs[0].image.sum() + features.pairs[0].text.sum();
  (sum + features.pairs[1].image.sum() + features.pairs[1].text.sum()).backward();
  EXPECT_DOUBLE_EQ(counted.take(), rows * (image.backward + text.backward) + 2 * whole - 2 * 16 * (16 + 5));
}

TEST(ModelCost, FlopAreThoseOfTheProductsThatAreMade) {
  const int64_t rows = 3, tokens = 14;
  for (const auto activation : {ModelConfig::GELU, ModelConfig::QUICK_GELU}) {
    const ModelConfig config = small(activation);
    const auto model = make_model(config, 1);
    const Batch batch = make_batch(config, rows, tokens);
    const TowerFlop image = image_flop(config), text = text_flop(config, tokens);
    CountedFlop counted;
    const Features features = model->forward(batch, 1);
    EXPECT_DOUBLE_EQ(counted.take(), rows * (image.forward + text.forward));
    const FeaturePair& pair = features.pairs[0];
    torch::autograd::backward({pair.image, pair.text}, {at::ones_like(pair.image), at::ones_like(pair.text)});
    EXPECT_DOUBLE_EQ(counted.take(), rows * (image.backward + text.backward));

    const TowerFlop all = text_flop(config, tokens, TowerTokens::kAll);
    const Features whole = model->forward(batch, 1, {true, false});
    EXPECT_DOUBLE_EQ(counted.take(), rows * (image.forward + all.forward));
    whole.text_tokens.sum().backward();
    EXPECT_DOUBLE_EQ(counted.take(), rows * all.backward);
    const TowerFlop patches = image_flop(config, TowerTokens::kAll);
    const Features seen_whole = model->forward(batch, 1, {false, false, true});
    EXPECT_DOUBLE_EQ(counted.take(), rows * (patches.forward + text.forward));
    seen_whole.image_tokens.sum().backward();
    EXPECT_DOUBLE_EQ(counted.take(), rows * patches.backward);
    const TowerFlop some = image_tokens_flop(config, 2);
    const at::Tensor seen = model->image_tokens(batch, at::arange(2).expand({rows, 2}), 1);
    EXPECT_DOUBLE_EQ(counted.take(), rows * some.forward);
    seen.sum().backward();
    EXPECT_DOUBLE_EQ(counted.take(), rows * some.backward);
  }
}

TEST(ModelCost, FlopOfASelectionAreThoseOfTheProductsThatAreMade) {
  const int64_t rows = 3, tokens = 14;
  for (const bool padding : {false, true}) {
    ModelConfig config = selecting(small(ModelConfig::GELU));
    config.mutable_token_selection()->set_padding(padding);
    const auto model = make_model(config, 1);
    const TowerFlop image = image_flop(config), text = text_flop(config, tokens);
    const TowerFlop selection = selection_flop(config, tokens);
    CountedFlop counted;
    const Features features = model->forward(make_batch(config, rows, tokens), 1);
    EXPECT_DOUBLE_EQ(counted.take(), rows * (image.forward + text.forward + selection.forward));
    for (const FeatureCut& cut : features.cuts) cut.feature.sum().backward();
    EXPECT_DOUBLE_EQ(counted.take(), rows * selection.backward);
    const at::Tensor &patches = features.cuts.at(1).before, &words = features.cuts.at(0).before;
    torch::autograd::backward({patches, words}, {at::ones_like(patches), at::ones_like(words)});
    EXPECT_DOUBLE_EQ(counted.take(), rows * (image.backward + text.backward));
  }
}

// On one thread: what threads of a pool take is not seen.
TEST(ModelCost, ActivationsOfASelectionAreWhatAForwardLeaves) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (const bool bf16 : {false, true}) {
    for (const int64_t rows : {1, 30}) {
      const ModelConfig config = selecting(small(ModelConfig::GELU));
      const auto model = make_model(config, 1);
      for (at::Tensor& parameter : model->parameters()) parameter.mutable_grad() = at::zeros_like(parameter);
      const Batch batch = make_batch(config, rows, 14);
      AllocatedBytes allocated;
      const Bf16Scope precision(bf16, at::kCPU);
      const Features features = model->forward(batch, 1);
      EXPECT_EQ(allocated.now(), activation_bytes(config, rows, 14, bf16)) << rows << " rows, bf16 " << bf16;
    }
  }
  at::set_num_threads(threads);
}

// On one thread: what threads of a pool take is not seen.
TEST(ModelCost, ActivationsAreWhatAForwardLeaves) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (const auto activation : {ModelConfig::GELU, ModelConfig::QUICK_GELU}) {
    for (const double dropout : {0.0, 0.1}) {
      for (const bool bf16 : {false, true}) {
        for (const int64_t rows : {1, 30}) {
          const ModelConfig config = small(activation, dropout);
          const auto model = make_model(config, 1);
          for (at::Tensor& parameter : model->parameters()) parameter.mutable_grad() = at::zeros_like(parameter);
          const Batch batch = make_batch(config, rows, 14);
          {
            AllocatedBytes allocated;
            const Bf16Scope precision(bf16, at::kCPU);
            const Features whole = model->forward(batch, 1, {true, false});
            EXPECT_EQ(allocated.now(), activation_bytes(config, rows, 14, bf16, TowerTokens::kAll));
          }
          {
            AllocatedBytes allocated;
            const Bf16Scope precision(bf16, at::kCPU);
            const Features whole = model->forward(batch, 1, {true, false, true});
            EXPECT_EQ(allocated.now(), activation_bytes(config, rows, 14, bf16, TowerTokens::kAll, TowerTokens::kAll));
          }
          AllocatedBytes allocated;
          const Bf16Scope precision(bf16, at::kCPU);
          const Features features = model->forward(batch, 1);
          EXPECT_EQ(allocated.now(), activation_bytes(config, rows, 14, bf16)) << rows << " rows, bf16 " << bf16;
          // A backward that finds its gradients' memory there needs little more. Here the images, encoded last, go back
          // first, while the texts' activations are there; in a step the texts do (trainer/backward_order.h).
          const auto left = static_cast<double>(allocated.now());
          const FeaturePair& pair = features.pairs[0];
          torch::autograd::backward({pair.image, pair.text}, {at::ones_like(pair.image), at::ones_like(pair.text)});
          if (rows > 1) {
            EXPECT_LT(static_cast<double>(allocated.most()), 1.15 * left);
          }
        }
      }
    }
  }
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace muster
