#include "trainer/encoders/published_config.h"

#include <fmt/format.h>

#include <filesystem>

#include "dataloader/formats/file.h"
#include "dataloader/formats/json.h"
#include "launch/error.h"

namespace muster {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxConfigBytes = 1 << 20;

json read_config(const std::string& path) {
  const InputFile file(path);
  if (file.size() > kMaxConfigBytes) throw DataError(path + ": larger than any model's config");
  std::string text(file.size(), '\0');
  file.read(text.data(), text.size(), 0);
  return parse_json(text, path);
}

// config[key] if it is there, else null.
const json& field(const json& config, const char* key) {
  static const json nothing;
  return config.is_object() && config.contains(key) ? config.at(key) : nothing;
}

const json& part(const json& config, const char* key, const std::string& path) {
  const json& value = field(config, key);
  if (!value.is_object()) throw DataError(fmt::format("{}: no object {}", path, key));
  return value;
}

int positive(const json& config, const char* key, int otherwise, const std::string& path) {
  const json& value = field(config, key);
  if (value.is_null()) return otherwise;
  if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > 1 << 20) {
    throw DataError(fmt::format("{}: {} is no whole number from 1 up", path, key));
  }
  return value.get<int>();
}

[[noreturn]] void unlike_clip(const std::string& path, const char* key, const json& value) {
  throw DataError(fmt::format("{}: {} is {}, and Muster's CLIP computes otherwise", path, key, value.dump()));
}

// A switch that, if it is there, has CLIP's value.
void require(const json& config, const char* key, const json& value, const std::string& path) {
  if (!field(config, key).is_null() && field(config, key) != value) unlike_clip(path, key, field(config, key));
}

void take_transformers(const json& config, const std::string& path, ModelConfig& model) {
  const json &image = part(config, "vision_config", path), &text = part(config, "text_config", path);
  model.mutable_image()->set_heads(positive(image, "num_attention_heads", model.image().heads(), path));
  model.mutable_text()->set_heads(positive(text, "num_attention_heads", model.text().heads(), path));
  for (const json* tower : {&image, &text}) require(*tower, "layer_norm_eps", 1e-5, path);
  const json quick = "quick_gelu", exact = "gelu";
  const json activation =
      field(image, "hidden_act").is_null() ? quick : field(image, "hidden_act");  // CLIPVisionConfig's own
  if (activation != quick && activation != exact) unlike_clip(path, "hidden_act", activation);
  require(text, "hidden_act", activation, path);
  model.set_activation(activation == quick ? ModelConfig::QUICK_GELU : ModelConfig::GELU);
}

void take_open_clip(const json& config, const std::string& path, ModelConfig& model) {
  const json& sizes = part(config, "model_cfg", path);
  const json &image = part(sizes, "vision_cfg", path), &text = part(sizes, "text_cfg", path);
  const int head_width = positive(image, "head_width", 64, path);
  if (model.image().width() % head_width == 0) model.mutable_image()->set_heads(model.image().width() / head_width);
  model.mutable_text()->set_heads(positive(text, "heads", 8, path));
  require(image, "pool_type", "tok", path);
  require(image, "final_ln_after_pool", false, path);
  require(text, "pool_type", "argmax", path);
  require(text, "no_causal_mask", false, path);
  const bool quick = field(sizes, "quick_gelu") == json(true);
  model.set_activation(quick ? ModelConfig::QUICK_GELU : ModelConfig::GELU);
}

}  // namespace

bool read_published_config(const std::string& weights, NameStyle style, ModelConfig& model) {
  const char* name = style == NameStyle::kTransformers ? "config.json" : "open_clip_config.json";
  const std::string path = std::filesystem::path(weights).parent_path() / name;
  if (!is_file(path)) return false;
  const json config = read_config(path);
  if (style == NameStyle::kTransformers) {
    take_transformers(config, path, model);
  } else {
    take_open_clip(config, path, model);
  }
  return true;
}

}  // namespace muster
