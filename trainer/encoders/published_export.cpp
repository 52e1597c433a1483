#include "trainer/encoders/published_export.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>

#include "dataloader/transforms.h"
#include "launch/error.h"
#include "trainer/encoders/model_config.h"

namespace muster {
namespace {

using json = nlohmann::ordered_json;
using Form = PublishedTensor::Form;

constexpr char kBias[] = "objective.logit_bias";

bool is_quick(const ModelConfig& model) {
  return model.activation() == ModelConfig::QUICK_GELU;
}

// The shortest decimals that are these floats.
json numbers(const std::array<float, 3>& floats) {
  json list = json::array();
  for (const float number : floats) list.push_back(std::stod(fmt::format("{}", number)));
  return list;
}

at::Tensor in_their_form(const PublishedTensor& tensor, const at::Tensor& ours, int64_t patch) {
  switch (tensor.form) {
    case Form::kSame:
      return ours;
    case Form::kConvolution:
      return ours.reshape({ours.size(0), 3, patch, patch});
    case Form::kTransposed:
      return ours.t();
    case Form::kThird:
      return ours.narrow(0, tensor.part * (ours.size(0) / 3), ours.size(0) / 3);
  }
  throw std::logic_error("make_published_export: a form that nobody knows");
}

json tower(const std::string& type, int width, int heads, int layers, const ModelConfig& model) {
  return {{"model_type", type},
          {"hidden_size", width},
          {"intermediate_size", 4 * width},
          {"num_attention_heads", heads},
          {"num_hidden_layers", layers},
          {"projection_dim", model.joint_width()},
          {"hidden_act", is_quick(model) ? "quick_gelu" : "gelu"},
          {"layer_norm_eps", 1e-5},
          {"attention_dropout", 0.0}};
}

// transformers' CLIPConfig. The text's last token is the one whose id is eos_token_id, which is CLIP's largest.
json transformers_config(const ModelConfig& model) {
  const VisionConfig& image = model.image();
  const TextConfig& text = model.text();
  json vision = tower("clip_vision_model", image.width(), image.heads(), image.layers(), model);
  vision["image_size"] = image.width_pixels();
  vision["patch_size"] = image.patch();
  vision["num_channels"] = 3;
  json words = tower("clip_text_model", text.width(), text.heads(), text.layers(), model);
  words["vocab_size"] = text.vocabulary();
  words["max_position_embeddings"] = text.context();
  words["bos_token_id"] = text.vocabulary() - 2;
  words["eos_token_id"] = text.vocabulary() - 1;
  return {{"architectures", {"CLIPModel"}},        {"model_type", "clip"},    {"dtype", "float32"},
          {"projection_dim", model.joint_width()}, {"vision_config", vision}, {"text_config", words}};
}

json transformers_preprocessor(const ModelConfig& model, const ImageTransformConfig& images) {
  const json size{{"height", model.image().height_pixels()}, {"width", model.image().width_pixels()}};
  const bool crop = images.fit() == ImageTransformConfig::CENTER_CROP;
  json config{{"image_processor_type", "CLIPImageProcessor"},
              {"do_convert_rgb", true},
              {"do_resize", true},
              {"size", size},
              {"resample", images.resample() == ImageTransformConfig::BILINEAR ? 2 : 3},  // PIL's numbers
              {"do_center_crop", crop},
              {"do_rescale", true},
              {"rescale_factor", 1.0 / 255},
              {"do_normalize", true},
              {"image_mean", numbers(channel_means(images))},
              {"image_std", numbers(channel_deviations(images))}};
  if (crop) {
    config["size"] = {{"shortest_edge", model.image().height_pixels()}};
    config["crop_size"] = size;
  }
  return config;
}

json open_clip_config(const ModelConfig& model, const ImageTransformConfig& images, const at::Tensor& bias) {
  const VisionConfig& image = model.image();
  const TextConfig& text = model.text();
  const json square = image.width_pixels(), sides = {image.height_pixels(), image.width_pixels()};
  json sizes{{"embed_dim", model.joint_width()},
             {"quick_gelu", is_quick(model)},
             {"vision_cfg",
              {{"image_size", image.width_pixels() == image.height_pixels() ? square : sides},
               {"layers", image.layers()},
               {"width", image.width()},
               {"head_width", image.width() / image.heads()},
               {"patch_size", image.patch()}}},
             {"text_cfg",
              {{"context_length", text.context()},
               {"vocab_size", text.vocabulary()},
               {"width", text.width()},
               {"heads", text.heads()},
               {"layers", text.layers()}}}};
  if (bias.defined()) sizes["init_logit_bias"] = bias.item<double>();
  return {{"model_cfg", sizes},
          {"preprocess_cfg",
           {{"mean", numbers(channel_means(images))},
            {"std", numbers(channel_deviations(images))},
            {"interpolation", images.resample() == ImageTransformConfig::BILINEAR ? "bilinear" : "bicubic"},
            {"resize_mode", images.fit() == ImageTransformConfig::CENTER_CROP ? "shortest" : "squash"}}}};
}

void check_square(const VisionConfig& image) {
  if (image.width_pixels() == image.height_pixels()) return;
  throw ConfigError(
      fmt::format("transformers' CLIPModel has square images only, and this model's are {} x {}: give --format "
                  "open_clip, or train with model.image.height_pixels and width_pixels equal",
                  image.height_pixels(), image.width_pixels()));
}

}  // namespace

PublishedExport make_published_export(NameStyle style, const ModelConfig& model, const ImageTransformConfig& images,
                                      const NamedTensors& ours) {
  const bool transformers = style == NameStyle::kTransformers;
  if (transformers) check_square(model.image());
  const std::map<std::string, at::Tensor> by_name(ours.begin(), ours.end());
  std::set<std::string> unnamed;
  PublishedExport made;
  for (const auto& [name, tensor] : ours) {
    const bool selection = name.rfind(kSelectionPrefix, 0) == 0;
    if (selection) made.left_out.push_back(name);
    if (!selection) unnamed.insert(name);
  }

  at::Tensor bias;
  for (const PublishedTensor& tensor : published_tensors(style, model.image().layers(), model.text().layers())) {
    const auto own = by_name.find(tensor.ours);
    unnamed.erase(tensor.ours);
    if (tensor.ours == kBias) {
      if (own == by_name.end()) continue;
      if (transformers) {
        made.left_out.emplace_back(kBias);
        continue;
      }
      bias = own->second;
    }
    if (own == by_name.end()) throw std::logic_error("make_published_export: no tensor " + tensor.ours);
    made.tensors.emplace_back(tensor.theirs, in_their_form(tensor, own->second, model.image().patch()).to(at::kFloat));
  }
  if (!unnamed.empty()) throw std::logic_error("make_published_export: no published tensor is " + *unnamed.begin());

  const auto text = [](const json& config) { return config.dump(2) + "\n"; };
  if (transformers) {
    made.weights_name = "model.safetensors";
    made.texts = {{"config.json", text(transformers_config(model))},
                  {"preprocessor_config.json", text(transformers_preprocessor(model, images))}};
  } else {
    made.weights_name = "open_clip_model.safetensors";
    made.texts = {{"open_clip_config.json", text(open_clip_config(model, images, bias))}};
  }
  return made;
}

}  // namespace muster
