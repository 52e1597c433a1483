// Files that the original Python programs wrote (tests/peers/make_weight_files.py): the model that is made of each
// gives the embeddings that those programs computed.
#include "trainer/encoders/published_weights.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "launch/error.h"
#include "tests/support/file_bytes.h"
#include "tests/support/temporary_folder.h"
#include "trainer/encoders/model.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::string kFolder = MUSTER_SOURCE_DIR "/tests/golden/weights/";

struct Published {
  const char* name;  // in embeddings.safetensors
  const char* file;
  const char* family;
  const char* format;
  std::vector<std::string> ignore;
};

std::ostream& operator<<(std::ostream& out, const Published& published) {
  return out << published.file;
}

const std::vector<std::string> kIrraHeads = {"classifier.*", "cross_attn.*", "ln_pre_t.*", "mlm_head.*"};

// open_clip's hub folder holds the same weights twice.
std::vector<Published> all_published() {
  return {{"openai", "openai/clip.pt", "OpenAI's CLIP", "TorchScript", {}},
          {"irra", "irra/best.pth", "IRRA", "torch.save", kIrraHeads},
          {"open_clip_epoch", "open_clip/epoch_1.pt", "open_clip", "torch.save", {}},
          {"open_clip_hub", "open_clip/hub/open_clip_model.safetensors", "open_clip", "safetensors", {}},
          {"open_clip_hub", "open_clip/hub/open_clip_pytorch_model.bin", "open_clip", "torch.save", {}},
          {"transformers", "transformers/model.safetensors", "transformers' CLIPModel", "safetensors", {}}};
}

// What no file of theirs says: the activation of a bare state_dict, its heads, the shape of IRRA's images.
ModelConfig given(const std::string& name) {
  ModelConfig config;
  if (name == "open_clip_epoch") {
    config.set_activation(ModelConfig::GELU);
    config.mutable_image()->set_heads(2);
    config.mutable_text()->set_heads(2);
  } else if (name == "irra") {
    config.mutable_image()->set_height_pixels(32);
    config.mutable_image()->set_width_pixels(16);
  }
  return config;
}

struct Loaded {
  std::shared_ptr<Model> model;
  at::Tensor log_scale = at::zeros({});
  PublishedOutcome outcome;
};

NamedTensors tensors_of(const Loaded& loaded) {
  NamedTensors tensors{{"objective.log_scale", loaded.log_scale}};
  for (const auto& parameter : loaded.model->named_parameters()) {
    tensors.emplace_back(parameter.key(), parameter.value().detach());
  }
  return tensors;
}

Loaded load(const std::string& path, const ModelConfig& config, std::vector<std::string> ignore = {}) {
  Loaded loaded;
  const ModelConfig resolved = resolve_model(complete_from_published(config, path));
  const PublishedModel published(path);
  published.check_agrees(resolved);
  published.grid(resolved.image());
  loaded.model = make_model(resolved, 1);
  const auto fit = [](const std::string&, const at::Tensor& table) { return table; };
  loaded.outcome = copy_published(published, {std::move(ignore), fit}, tensors_of(loaded));
  return loaded;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

class PublishedWeights : public testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  at::NoGradGuard no_grad_;
};

class EachFile : public PublishedWeights, public testing::WithParamInterface<Published> {};

TEST_P(EachFile, GivesItsProgramsEmbeddings) {
  const Published& file = GetParam();
  const std::string name = file.name;
  const NamedTensors truth = read_safetensors(kFolder + "embeddings.safetensors");
  const auto expected = [&](const char* what) { return find_tensor(truth, name + what, "embeddings"); };
  const Loaded loaded = load(kFolder + file.file, given(name), file.ignore);
  EXPECT_GT(expected(".image").abs().max().item<double>(), 0.5);
  Batch batch;
  batch.images = expected(".images");
  EXPECT_LE(largest_difference(loaded.model->encode_image(batch), expected(".image")), 1e-5);
  EXPECT_LE(largest_difference(loaded.model->encode_text(expected(".tokens")), expected(".text")), 1e-5);
  const bool has_scale = name != "irra";
  const float scale = has_scale ? expected(".log_scale").item<float>() : 0;
  EXPECT_EQ(loaded.log_scale.item<float>(), scale);
  EXPECT_EQ(loaded.outcome.objective.size(), has_scale ? 1U : 0U);
  EXPECT_EQ(loaded.outcome.ignored.size(), has_scale ? 0U : 10U);
  const PublishedModel published(kFolder + file.file);
  EXPECT_EQ(published.family(), file.family);
  EXPECT_STREQ(published.file().format(), file.format);
}

// Cut off anywhere, or with a bit turned: refused in one line, or the same weights. safetensors has no checksum, so
// there another bit may be another weight.
TEST_P(EachFile, DamageIsRefusedOrHarmless) {
  const Published& file = GetParam();
  const ModelConfig config = given(file.name);
  const TemporaryFolder folder;
  const std::vector<uint8_t> whole = read_bytes(kFolder + file.file);
  const std::string path = folder / "damaged";
  for (const auto& beside :
       std::filesystem::directory_iterator(std::filesystem::path(kFolder + file.file).parent_path())) {
    if (beside.path().extension() == ".json") std::filesystem::copy(beside.path(), folder / beside.path().filename());
  }
  const NamedTensors before = tensors_of(load(kFolder + file.file, config, file.ignore));
  size_t refused = 0;
  const auto try_file = [&](bool may_differ) {
    try {
      const NamedTensors after = tensors_of(load(path, config, file.ignore));
      for (size_t i = 0; i < before.size() && !may_differ; ++i) {
        ASSERT_TRUE(at::equal(after[i].second, before[i].second)) << before[i].first;
      }
    } catch (const Error& error) {
      ++refused;
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  };
  const size_t cuts = (whole.size() - 1) / 97;
  write_bytes(path, whole);
  for (size_t cut = cuts + 1; cut-- > 0;) {
    std::filesystem::resize_file(path, 97 * cut);
    try_file(false);
  }
  EXPECT_EQ(refused, cuts + 1);
  refused = 0;
  std::mt19937_64 random(7);
  const bool has_checksums = std::string(file.format) != "safetensors";
  for (int i = 0; i < 300; ++i) {
    std::vector<uint8_t> bytes = whole;
    // Half of them where the names and sizes are: at the start or the end.
    const size_t place = i % 2 == 0 ? random() % bytes.size() : random() % 8000;
    bytes[i % 4 == 1 ? bytes.size() - 1 - place : place] ^= static_cast<uint8_t>(1U << random() % 8);
    write_bytes(path, bytes);
    try_file(!has_checksums);
  }
  EXPECT_GT(refused, has_checksums ? 150U : 30U);
}

INSTANTIATE_TEST_SUITE_P(Published, EachFile, testing::ValuesIn(all_published()), [](const auto& tested) {
  std::string name = tested.param.file;
  for (char& character : name) {
    if (std::isalnum(static_cast<unsigned char>(character)) == 0) character = '_';
  }
  return name;
});

TEST_F(PublishedWeights, SizesAreTheFiles) {
  const ModelConfig openai = PublishedModel(kFolder + "openai/clip.pt").model();
  EXPECT_EQ(openai.ShortDebugString(),
            "image { width_pixels: 16 height_pixels: 16 patch: 8 width: 64 layers: 1 heads: 1 } "
            "text { context: 16 vocabulary: 300 width: 64 layers: 2 heads: 1 } joint_width: 24 activation: QUICK_GELU");
  const ModelConfig hub = PublishedModel(kFolder + "open_clip/hub/open_clip_model.safetensors").model();
  EXPECT_EQ(hub.ShortDebugString(),
            "image { width_pixels: 16 height_pixels: 16 patch: 8 width: 32 layers: 2 heads: 2 } "
            "text { context: 16 vocabulary: 300 width: 32 layers: 2 heads: 2 } joint_width: 20 activation: QUICK_GELU");
  const ModelConfig bare = PublishedModel(kFolder + "open_clip/epoch_1.pt").model();
  EXPECT_FALSE(bare.has_activation());
  EXPECT_FALSE(bare.image().has_heads());
  const ModelConfig transformers = PublishedModel(kFolder + "transformers/model.safetensors").model();
  EXPECT_EQ(transformers.activation(), ModelConfig::GELU);
  EXPECT_EQ(transformers.text().heads(), 4);
}

// What is wrong with a run that starts from this file.
std::string refusal(const std::string& file, const ModelConfig& config, const std::vector<std::string>& ignore = {}) {
  try {
    load(kFolder + file, config, ignore);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(PublishedWeights, AnotherModelIsRefusedByItsFirstDifference) {
  ModelConfig config;
  config.mutable_text()->set_layers(3);
  EXPECT_THAT(refusal("openai/clip.pt", config),
              AllOf(HasSubstr("openai/clip.pt is of another model (text.layers 2 there, 3 here)"),
                    HasSubstr("leave model.preset and these sizes out")));
  config.Clear();
  config.set_preset(ModelConfig::VIT_B_16);
  EXPECT_THAT(refusal("openai/clip.pt", config), HasSubstr("(image.patch 8 there, 16 here)"));
  config.Clear();
  config.set_activation(ModelConfig::GELU);
  EXPECT_THAT(refusal("openai/clip.pt", config), HasSubstr("(activation QUICK_GELU there, GELU here)"));
  config.Clear();
  config.mutable_image()->set_heads(4);
  EXPECT_THAT(refusal("openai/clip.pt", config), HasSubstr("(image.heads 1 there, 4 here)"));
  EXPECT_EQ(refusal("open_clip/epoch_1.pt", given("open_clip_epoch")), "");
  config = given("irra");
  config.mutable_image()->set_height_pixels(24);
  EXPECT_THAT(refusal("irra/best.pth", config, kIrraHeads),
              HasSubstr("its 8 patches are no square: give the image it was trained with as "
                        "model.image.height_pixels and width_pixels (24 x 16 pixels make 6 patches)"));
}

TEST_F(PublishedWeights, TensorsWithoutAPlaceAreNamedWithTheGlobsThatLeaveThemOut) {
  EXPECT_THAT(refusal("irra/best.pth", given("irra")),
              AllOf(HasSubstr("10 of its 47 tensors have no place in this model (classifier.weight, classifier.bias, "
                              "cross_attn.in_proj_weight, cross_attn.in_proj_bias and 6 more)"),
                    HasSubstr("train.init.ignore: [\"classifier.*\", \"cross_attn.*\", \"ln_pre_t.*\", "
                              "\"mlm_head.*\"]")));
  EXPECT_THAT(refusal("openai/clip.pt", {}, {"classifer.*"}),
              HasSubstr("train.init.ignore \"classifer.*\" matches none of the 53 tensors of"));
  EXPECT_THAT(refusal("openai/clip.pt", {}, {"*"}), HasSubstr("train.init.ignore leaves no tensor of"));
}

TEST_F(PublishedWeights, WhatIsIgnoredKeepsItsValues) {
  const std::string path = kFolder + "openai/clip.pt";
  const Loaded all = load(path, {}), part = load(path, {}, {"*proj", "logit_scale"});
  const std::shared_ptr<Model> fresh = make_model(resolve_model(PublishedModel(path).model()), 1);
  for (const auto& parameter : part.model->named_parameters()) {
    const bool ignored = parameter.key() == "image.projection";
    const Model& source = ignored ? *fresh : *all.model;
    EXPECT_TRUE(at::equal(parameter.value(), source.named_parameters()[parameter.key()])) << parameter.key();
  }
  EXPECT_EQ(part.log_scale.item<float>(), 0);
  EXPECT_THAT(part.outcome.ignored, testing::ElementsAre("logit_scale", "visual.proj"));
}

// Made by the tests' own writer, from tensors that Python wrote.
NamedTensors hub_tensors() {
  return read_safetensors(kFolder + "open_clip/hub/open_clip_model.safetensors");
}

std::string refusal_of(const NamedTensors& tensors) {
  const TemporaryFolder folder;
  write_safetensors(folder / "file", tensors);
  try {
    load(folder / "file", given("open_clip_epoch"));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(PublishedWeights, MissingAndMisshapenTensorsAreNamed) {
  EXPECT_EQ(refusal_of(hub_tensors()), "");
  const auto without = [](const std::string& name) {
    NamedTensors tensors = hub_tensors();
    tensors.erase(std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.first == name; }));
    return tensors;
  };
  EXPECT_THAT(refusal_of(without("transformer.resblocks.1.mlp.c_fc.bias")),
              HasSubstr("no tensor transformer.resblocks.1.mlp.c_fc.bias, which this model needs "
                        "(text.blocks.1.mlp.expand.bias)"));
  EXPECT_THAT(refusal_of(without("token_embedding.weight")),
              HasSubstr("no tensor token_embedding.weight, which a CLIP has"));
  EXPECT_THAT(refusal_of(without("visual.class_embedding")), HasSubstr("no CLIP that Muster knows"));
  const auto changed = [](const std::string& name, const at::Tensor& to) {
    NamedTensors tensors = hub_tensors();
    for (auto& tensor : tensors) {
      if (tensor.first == name) tensor.second = to;
    }
    return tensors;
  };
  EXPECT_THAT(refusal_of(changed("visual.proj", at::zeros({20, 32}))),
              HasSubstr("visual.proj has shape [20, 32], and this model needs [32, 32]"));
  EXPECT_THAT(refusal_of(changed("ln_final.weight", at::zeros({31}))),
              HasSubstr("ln_final.weight has shape [31], and this model needs [32] (text.final_norm.weight)"));
  EXPECT_THAT(refusal_of(changed("ln_final.weight", at::zeros({32}, at::kLong))),
              HasSubstr("ln_final.weight holds Long numbers; weights are floating-point"));
  EXPECT_THAT(refusal_of(changed("visual.conv1.weight", at::zeros({32, 3, 8}))),
              HasSubstr("visual.conv1.weight has shape [32, 3, 8], must have 4 dimensions"));
  EXPECT_THAT(refusal_of({{"visual.attnpool.positional_embedding", at::zeros({2})}}),
              HasSubstr("a CLIP with a ResNet; Muster has vision transformers"));
}

}  // namespace
}  // namespace muster
