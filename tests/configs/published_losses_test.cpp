// The presets' whole losses against public code: value, terms and every gradient of one step on the batch of
// tests/golden/published_losses.safetensors, which tests/peers/make_published_losses.py has written.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/gradient_reducer.h"
#include "comm/thread_communicator.h"
#include "configs/load.h"
#include "dataloader/formats/safetensors.h"
#include "trainer/encoders/model.h"
#include "trainer/heads/head_losses.h"
#include "trainer/heads/identity_classifier.h"
#include "trainer/heads/image_restoration.h"
#include "trainer/heads/masked_words.h"
#include "trainer/losses/objective.h"
#include "trainer/optimizer.h"
#include "trainer/replica.h"
#include "trainer/step.h"

namespace muster {
namespace {

constexpr int64_t kWidth = 8, kContext = 12, kVocabulary = 60, kPatch = 2, kRows = 6, kColumns = 2;
constexpr uint64_t kSeed = 5;
const Tokenizer::Ordinary kWords = {1, 50, 57};

const NamedTensors& published() {
  static const NamedTensors tensors = read_safetensors(MUSTER_SOURCE_DIR "/tests/golden/published_losses.safetensors");
  return tensors;
}
at::Tensor published(const std::string& name) {
  return find_tensor(published(), name, "published_losses");
}

// The script's stubs of the towers.
class TableModel : public Model {
 public:
  TableModel() {
    const auto take = [&](const char* name) {
      return register_parameter(name, published(std::string("model.") + name).clone());
    };
    table_ = take("table");
    text_places_ = take("text_places");
    pixels_ = take("pixels");
    image_places_ = take("image_places");
  }

  ForwardPass begin_forward(const Batch& batch, uint64_t seed, const TokenRequest& tokens) override {
    ForwardPass pass;
    const at::Tensor words = text_tokens(batch, seed, true), ends = batch.tokens.argmax(1);
    const at::Tensor rows = at::arange(batch.size(), at::kLong) * kContext + ends;
    pass.texts.pairs.push_back({"global", {}, words.flatten(0, 1).index_select(0, rows)});
    if (tokens.text) pass.texts.text_tokens = tokens.padding ? words : text_tokens(batch, seed, false);
    pass.finish = [this, batch, tokens, features = pass.texts]() mutable {
      const at::Tensor patches = mix(embed(batch.images));
      features.pairs[0].image = patches.select(1, 0).contiguous();
      if (tokens.image) features.image_tokens = patches;
      return std::move(features);
    };
    return pass;
  }
  at::Tensor text_tokens(const Batch& batch, uint64_t, bool padding) override {
    const int64_t used = padding || batch.size() == 0 ? kContext : batch.tokens.argmax(1).max().item<int64_t>() + 1;
    const at::Tensor x = at::embedding(table_, batch.tokens.narrow(1, 0, used)) + text_places_.narrow(0, 0, used);
    return x + x.cumsum(1) / at::arange(1, used + 1, at::kDouble).view({1, used, 1});
  }
  at::Tensor image_tokens(const Batch& batch, const at::Tensor& kept, uint64_t) override {
    const at::Tensor tokens = at::cat({at::zeros({batch.size(), 1}, at::kLong), kept + 1}, 1);
    return mix(embed(batch.images).gather(1, tokens.unsqueeze(2).expand({-1, -1, kWidth})));
  }
  at::Tensor encode_image(const Batch& batch) override { return batch.images; }
  at::Tensor encode_text(const at::Tensor& tokens) override { return tokens; }
  at::Tensor token_embedding() const override { return table_; }
  std::map<std::string, int64_t> layers_above() const override { return {}; }

 private:
  at::Tensor embed(const at::Tensor& images) const {
    const int64_t b = images.size(0);
    const at::Tensor patches = images.reshape({b, 3, kRows, kPatch, kColumns, kPatch})
                                   .permute({0, 2, 4, 1, 3, 5})
                                   .reshape({b, kRows * kColumns, 3 * kPatch * kPatch});
    return at::cat({at::zeros({b, 1, kWidth}, at::kDouble), at::matmul(patches, pixels_)}, 1) + image_places_;
  }
  static at::Tensor mix(const at::Tensor& x) { return x + x.mean(1, true); }

  at::Tensor table_, text_places_, pixels_, image_places_;
};

ModelConfig small_model() {
  ModelConfig model;
  model.set_preset(ModelConfig::MINI);
  model.mutable_image()->set_height_pixels(kRows * kPatch);
  model.mutable_image()->set_width_pixels(kColumns * kPatch);
  model.mutable_image()->set_patch(kPatch);
  model.mutable_text()->set_context(kContext);
  model.mutable_text()->set_vocabulary(kVocabulary);
  model.set_joint_width(kWidth);
  return resolve_model(model);
}

Heads make_heads(HeadsConfig config) {
  Heads heads;
  config.mutable_masked_words()->set_attention_heads(2);
  config.mutable_image_restoration()->set_attention_heads(2);
  const ModelConfig model = small_model();
  if (config.masked_words().weight() > 0) {
    heads.push_back(make_masked_words(config.masked_words(), model, kWords, {}, kSeed));
  }
  if (config.image_restoration().weight() > 0) {
    heads.push_back(make_image_restoration(config.image_restoration(), model, kSeed));
  }
  if (config.identity_classifier().weight() > 0) {
    heads.push_back(make_identity_classifier(config.identity_classifier(), model, {2, 5, 9, 14, 20}, kSeed));
  }
  const at::NoGradGuard no_grad;
  for (const auto& head : heads) {
    head->to(at::kDouble);
    for (auto& parameter : head->named_parameters()) {
      parameter.value().copy_(published(parameter_prefix(*head) + parameter.key()));
    }
  }
  return heads;
}

Batch batch_of(Communicator& communicator) {
  const Slice slice = slice_of(published("tokens").size(0), {communicator.rank(), communicator.size()});
  const auto cut = [&](const char* name) { return published(name).narrow(0, slice.first, slice.count).contiguous(); };
  return {cut("images"), cut("tokens"), cut("identity"), cut("position"), cut("position")};
}

struct Case {
  const char* published;
  const char* preset;
  double epoch;
};

class PublishedLosses : public testing::TestWithParam<Case> {};

double largest(const at::Tensor& tensor) {
  return tensor.abs().max().item<double>();
}

void expect_published(const Case& tested, Communicator& communicator, int64_t chunk) {
  const RunConfig config =
      load_run_config(std::string(MUSTER_SOURCE_DIR "/configs/") + tested.preset + ".textproto", {});
  TableModel model;
  LossObjective objective(config.objective());
  objective.set_log_scale(published("log_scale").item<double>());
  const Heads heads = make_heads(config.heads());
  const NamedParameters trainable = take_trainable(model, objective, OptimizerConfig(), heads);
  Optimizer optimizer(trainable, OptimizerConfig());
  GradientReducer reducer(trainable, communicator, 1 << 20);
  HeadLosses losses(heads, model, communicator);
  TrainingStep step(model, objective, trainable, reducer, optimizer, communicator, {kSeed, chunk}, nullptr,
                    heads.empty() ? nullptr : &losses);
  const StepResult result = step.compute_gradients(batch_of(communicator), {0, tested.epoch});

  const std::string name = std::string(tested.published) + ".";
  const at::Tensor terms = published(name + "terms");
  ASSERT_EQ(static_cast<int64_t>(result.terms.size()), terms.numel());
  const double loss = published(name + "loss").item<double>();
  EXPECT_NEAR(result.loss, loss, 1e-10 * loss);
  for (size_t i = 0; i < result.terms.size(); ++i) {
    const double expected = terms.const_data_ptr<double>()[i];
    EXPECT_NEAR(result.terms[i], expected, 1e-10 * expected) << step.term_names()[i];
  }
  const auto expected_of = [&](const std::string& parameter) {
    const bool is_model = parameter.find('.') == std::string::npos;
    return published(name + "grad." + (is_model ? "model." : "") + parameter);
  };
  double most = 0;
  for (const auto& parameter : trainable) most = std::max(most, largest(expected_of(parameter.first)));
  for (const auto& [parameter, value] : trainable) {
    const at::Tensor expected = expected_of(parameter);
    // The logit scale, and so its gradient, is kept in float32; a key's bias has none but rounding.
    const double bound = value.scalar_type() == at::kFloat ? 1e-6 : 1e-10;
    EXPECT_LE(largest(value.grad().to(at::kDouble) - expected), bound * std::max(largest(expected), 1e-3 * most))
        << parameter;
  }
}

TEST_P(PublishedLosses, AreThoseOfPublicCode) {
  run_ranks(1, [](Communicator& communicator) { expect_published(GetParam(), communicator, 0); });
}

TEST_P(PublishedLosses, AreThoseOfPublicCodeOverRanksAndChunks) {
  run_ranks(2, [](Communicator& communicator) { expect_published(GetParam(), communicator, 3); });
}

// In the first epoch the share of the self-target is still growing.
INSTANTIATE_TEST_SUITE_P(Presets, PublishedLosses,
                         testing::Values(Case{"irra", "irra", 0}, Case{"sen", "sen", 0},
                                         Case{"sen_repro", "sen_repro", 0}, Case{"tbps_simple", "tbps_simple", 1.5},
                                         Case{"tbps_simple.first_epoch", "tbps_simple", 0.4},
                                         Case{"tbps_full", "tbps_full", 1.5},
                                         Case{"tbps_full.first_epoch", "tbps_full", 0.4},
                                         Case{"clip_finetune", "clip_finetune", 0}),
                         [](const auto& tested) {
                           std::string name = tested.param.published;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace muster
