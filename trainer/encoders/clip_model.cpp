#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "launch/error.h"
#include "trainer/encoders/clip_towers.h"
#include "trainer/encoders/model.h"
#include "trainer/encoders/model_cost.h"

namespace muster {
namespace {

class ClipModel : public Model {
 public:
  ClipModel(const ModelConfig& config, uint64_t seed) : dropout_(config.dropout()), joint_width_(config.joint_width()) {
    Initialiser initialiser(seed);
    image_ = register_module("image", std::make_shared<ImageTower>(config, initialiser));
    text_ = register_module("text", std::make_shared<TextTower>(config, initialiser));
  }

  ForwardPass begin_forward(const Batch& batch, uint64_t seed, const TokenRequest& tokens) override {
    const DropoutKey key = dropout_key(batch, seed);
    ForwardPass pass;
    pass.texts.pairs.push_back({"global", {}, {}});
    at::Tensor& text = pass.texts.pairs[0].text;
    if (tokens.text && batch.size() > 0) {
      const TextTower::Outputs outputs =
          text_->forward_tokens(batch.tokens, key, image_->dropout_layers(), tokens.padding);
      text = outputs.feature;
      pass.texts.text_tokens = outputs.tokens;
    } else {
      text = text_features(batch.tokens, key);
    }
    const bool wants_patches = tokens.image && batch.size() > 0;
    pass.finish = [this, key, wants_patches, images = batch.images, features = pass.texts]() mutable {
      if (wants_patches) {
        ImageTower::Outputs outputs = image_->forward_tokens(images, key);
        features.pairs[0].image = outputs.feature;
        features.image_tokens = outputs.tokens;
      } else {
        features.pairs[0].image = image_features(images, key);
      }
      return std::move(features);
    };
    return pass;
  }

  at::Tensor encode_image(const at::Tensor& images) override { return image_features(images, {}); }
  at::Tensor encode_text(const at::Tensor& tokens) override { return text_features(tokens, {}); }

  at::Tensor text_tokens(const Batch& batch, uint64_t seed, bool padding) override {
    if (batch.size() == 0) return nothing().unsqueeze(1);
    const uint32_t first_layer = image_->dropout_layers() + text_->dropout_layers();
    return text_->forward_tokens(batch.tokens, dropout_key(batch, seed), first_layer, padding).tokens;
  }

  at::Tensor image_tokens(const Batch& batch, const at::Tensor& kept, uint64_t seed) override {
    if (batch.size() == 0) return nothing().unsqueeze(1);
    const uint32_t first_layer = image_->dropout_layers() + 2 * text_->dropout_layers();
    return image_->forward_tokens(batch.images, kept, dropout_key(batch, seed), first_layer);
  }

  at::Tensor token_embedding() const override { return text_->token_embedding(); }

  std::map<std::string, int64_t> layers_above() const override {
    std::map<std::string, int64_t> above;
    for (const auto& [name, layers] : image_->layers_above()) above["image." + name] = layers;
    for (const auto& [name, layers] : text_->layers_above()) above["text." + name] = layers;
    return above;
  }

 private:
  DropoutKey dropout_key(const Batch& batch, uint64_t seed) const {
    if (!is_training() || dropout_ == 0) return {};
    return {dropout_, seed, batch.position.contiguous()};
  }

  at::Tensor nothing() const {
    return at::zeros({0, joint_width_}, parameters().front().options().requires_grad(false));
  }

  at::Tensor image_features(const at::Tensor& images, const DropoutKey& key) const {
    return images.size(0) == 0 ? nothing() : image_->forward(images, key);
  }

  at::Tensor text_features(const at::Tensor& tokens, const DropoutKey& key) const {
    return tokens.size(0) == 0 ? nothing() : text_->forward(tokens, key, image_->dropout_layers());
  }

  double dropout_;
  int64_t joint_width_;
  std::shared_ptr<ImageTower> image_;
  std::shared_ptr<TextTower> text_;
};

// A layer is taken at a time: without this a model that cannot fit would fill the machine first.
void check_memory(const ModelConfig& config) {
  const double weights = 4e-9 * static_cast<double>(count_parameters(config));
  const double memory =
      1e-9 * static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (weights <= memory) return;
  throw ConfigError(
      fmt::format("model: its {:.4g} parameters take {:.4g} GB, this machine has {:.4g} GB of memory; give "
                  "smaller widths or fewer layers",
                  static_cast<double>(count_parameters(config)), weights, memory));
}

}  // namespace

std::shared_ptr<Model> make_model(const ModelConfig& config, uint64_t seed) {
  check_memory(config);
  return std::make_shared<ClipModel>(config, seed);
}

}  // namespace muster
