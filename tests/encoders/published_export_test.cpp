// What is exported is what the original Python programs wrote (tests/peers/make_weight_files.py): the same names,
// shapes, numbers and sizes. tests/peers/check_export.py has those programs load an export.
#include "trainer/encoders/published_export.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "launch/error.h"
#include "tests/support/file_bytes.h"
#include "trainer/encoders/model.h"
#include "trainer/encoders/published_weights.h"

namespace muster {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::string kFolder = MUSTER_SOURCE_DIR "/tests/golden/weights/";
const std::string kTransformers = kFolder + "transformers/model.safetensors";
const std::string kOpenClip = kFolder + "open_clip/hub/open_clip_model.safetensors";

json json_of(const std::string& path) {
  const std::vector<uint8_t> bytes = read_bytes(path);
  return json::parse(bytes.begin(), bytes.end());
}

struct Ours {
  ModelConfig config;
  NamedTensors tensors;
};

Ours load(const std::string& path) {
  const at::NoGradGuard no_grad;
  Ours ours{resolve_model(complete_from_published({}, path)), {{"objective.log_scale", at::zeros({})}}};
  const std::shared_ptr<Model> model = make_model(ours.config, 1);
  for (const auto& parameter : model->named_parameters()) {
    ours.tensors.emplace_back(parameter.key(), parameter.value().detach());
  }
  copy_published(PublishedModel(path), {{}, [](const std::string&, const at::Tensor& table) { return table; }},
                 ours.tensors);
  return ours;
}

PublishedExport export_of(NameStyle style, const Ours& ours) {
  return make_published_export(style, ours.config, {}, ours.tensors);
}

// Those of the file but for what it has beside the weights.
void expect_same_tensors(const PublishedExport& made, const std::string& path) {
  std::map<std::string, at::Tensor> there;
  for (const auto& [name, tensor] : read_safetensors(path)) there.emplace(name, tensor);
  for (const auto& [name, tensor] : made.tensors) {
    ASSERT_EQ(there.count(name), 1U) << name;
    EXPECT_EQ(tensor.sizes(), there[name].sizes()) << name;
    EXPECT_TRUE(tensor.equal(there[name].to(at::kFloat))) << name;
    there.erase(name);
  }
  EXPECT_TRUE(there.empty()) << there.begin()->first;
}

// Every field of ours stands there, with the same value.
void expect_fields(const json& ours, const json& theirs, const std::set<std::string>& own) {
  for (const auto& [key, value] : ours.items()) {
    if (own.count(key) > 0) continue;
    ASSERT_TRUE(theirs.contains(key)) << key;
    if (value.is_object()) {
      expect_fields(value, theirs[key], own);
    } else {
      EXPECT_EQ(value, theirs[key]) << key;
    }
  }
}

TEST(PublishedExport, IsWhatTransformersWrote) {
  const PublishedExport made = export_of(NameStyle::kTransformers, load(kTransformers));
  EXPECT_EQ(made.weights_name, "model.safetensors");
  expect_same_tensors(made, kTransformers);
  // The file is in bfloat16; its towers keep a projection_dim of their own, which CLIPModel does not read.
  ASSERT_EQ(made.texts.at(0).first, "config.json");
  expect_fields(json::parse(made.texts[0].second), json_of(kFolder + "transformers/config.json"),
                {"dtype", "projection_dim"});
  EXPECT_EQ(json::parse(made.texts[0].second)["projection_dim"], 20);
}

TEST(PublishedExport, IsWhatOpenClipWrote) {
  const PublishedExport made = export_of(NameStyle::kClip, load(kOpenClip));
  EXPECT_EQ(made.weights_name, "open_clip_model.safetensors");
  expect_same_tensors(made, kOpenClip);
  ASSERT_EQ(made.texts.at(0).first, "open_clip_config.json");
  expect_fields(json::parse(made.texts[0].second)["model_cfg"],
                json_of(kFolder + "open_clip/hub/open_clip_config.json")["model_cfg"], {});
}

// A model read from one program's file goes to the other's: their tensors through ours.
TEST(PublishedExport, GoesFromOneProgramToTheOther) {
  const Ours ours = load(kOpenClip);
  const PublishedExport made = export_of(NameStyle::kTransformers, ours);
  const auto tensor = [](const NamedTensors& tensors, const std::string& name) {
    return find_tensor(tensors, name, "").to(at::kFloat);
  };
  const NamedTensors there = read_safetensors(kOpenClip);
  EXPECT_TRUE(tensor(made.tensors, "visual_projection.weight").equal(tensor(there, "visual.proj").t()));
  const at::Tensor qkv = tensor(there, "transformer.resblocks.1.attn.in_proj_weight");
  EXPECT_TRUE(tensor(made.tensors, "text_model.encoder.layers.1.self_attn.k_proj.weight").equal(qkv.chunk(3)[1]));
}

TEST(PublishedExport, SaysHowImagesBecomeInputs) {
  Ours ours = load(kOpenClip);
  ImageTransformConfig images;
  images.set_fit(ImageTransformConfig::CENTER_CROP);
  images.set_resample(ImageTransformConfig::BILINEAR);
  for (const float mean : {0.1F, 0.25F, 0.5F}) images.add_mean(mean);
  const json open_clip =
      json::parse(make_published_export(NameStyle::kClip, ours.config, images, ours.tensors).texts[0].second);
  EXPECT_EQ(open_clip["preprocess_cfg"], json::parse(R"({"mean": [0.1, 0.25, 0.5], "std": [0.26862955, 0.2613026,
      0.2757771], "interpolation": "bilinear", "resize_mode": "shortest"})"));
  const json hf =
      json::parse(make_published_export(NameStyle::kTransformers, ours.config, images, ours.tensors).texts[1].second);
  EXPECT_EQ(hf["size"], json::parse(R"({"shortest_edge": 16})"));
  EXPECT_EQ(hf["crop_size"], json::parse(R"({"height": 16, "width": 16})"));
  EXPECT_EQ(hf["resample"], 2);
  EXPECT_EQ(hf["image_mean"], json::parse("[0.1, 0.25, 0.5]"));
}

TEST(PublishedExport, OfNoSquareIsForOpenClipAlone) {
  Ours ours = load(kOpenClip);
  ours.config.mutable_image()->set_height_pixels(32);
  ours.config.mutable_image()->set_width_pixels(8);
  const json config = json::parse(export_of(NameStyle::kClip, ours).texts[0].second);
  EXPECT_EQ(config["model_cfg"]["vision_cfg"]["image_size"], json::parse("[32, 8]"));
  try {
    export_of(NameStyle::kTransformers, ours);
    ADD_FAILURE() << "exported";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("square images only, and this model's are 32 x 8"));
  }
}

TEST(PublishedExport, KeepsABiasWhereThereIsAPlace) {
  Ours ours = load(kOpenClip);
  ours.tensors.emplace_back("objective.logit_bias", at::scalar_tensor(-9.5, at::kFloat));
  const PublishedExport open_clip = export_of(NameStyle::kClip, ours);
  EXPECT_EQ(find_tensor(open_clip.tensors, "logit_bias", "").item<float>(), -9.5F);
  EXPECT_EQ(json::parse(open_clip.texts[0].second)["model_cfg"]["init_logit_bias"], -9.5);
  EXPECT_EQ(export_of(NameStyle::kTransformers, ours).left_out, std::vector<std::string>{"objective.logit_bias"});
}

}  // namespace
}  // namespace muster
