#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "trainer/encoders/clip_towers.h"
#include "trainer/encoders/made_models.h"
#include "trainer/encoders/token_selection.h"

namespace muster {
namespace {

// Both towers' selection heads, under one name.
class Selection : public torch::nn::Module {
 public:
  Selection(const ModelConfig& config, Initialiser& initialiser)
      : image(register_module("image", std::make_shared<SelectionHead>(config, initialiser))),
        text(register_module("text", std::make_shared<SelectionHead>(config, initialiser))) {}

  const std::shared_ptr<SelectionHead> image, text;
};

at::Tensor unit(const at::Tensor& rows) {
  return rows / at::linalg_vector_norm(rows, 2, {1}, /*keepdim=*/true).clamp_min(1e-12);
}

class ClipModel : public Model {
 public:
  ClipModel(const ModelConfig& config, uint64_t seed)
      : dropout_(config.dropout()),
        joint_width_(config.joint_width()),
        patches_(selected_patches(config)),
        words_(selected_words(config)),
        padding_(config.token_selection().padding()) {
    Initialiser initialiser(seed);
    image_ = register_module("image", std::make_shared<ImageTower>(config, initialiser));
    text_ = register_module("text", std::make_shared<TextTower>(config, initialiser));
    if (selects_tokens(config)) {
      selection_ = register_module("selection", std::make_shared<Selection>(config, initialiser));
    }
  }

  void join(Communicator& communicator) override {
    if (!selection_) return;
    selection_->image->join(communicator, "selection.image");
    selection_->text->join(communicator, "selection.text");
  }

  ForwardPass begin_forward(const Batch& batch, uint64_t seed, const TokenRequest& tokens) override {
    const DropoutKey key = dropout_key(batch, seed);
    if (selection_) return begin_selecting(batch, key, tokens);
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

  at::Tensor encode_image(const Batch& batch) override {
    if (!selection_) return image_features(batch.images, {});
    const SelectedTokens selected = select_patches(batch.images, {});
    return both(selected.feature, selection_->image->forward(selected.tokens, selected.counts));
  }
  at::Tensor encode_text(const at::Tensor& tokens) override {
    if (!selection_) return text_features(tokens, {});
    const SelectedTokens selected = select_words(tokens, {});
    return both(selected.feature, selection_->text->forward(selected.tokens, selected.counts));
  }

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

  std::vector<at::Tensor> parameters_behind_cuts() const override {
    return selection_ ? selection_->parameters() : std::vector<at::Tensor>();
  }

  std::map<std::string, int64_t> layers_above() const override {
    std::map<std::string, int64_t> above;
    for (const auto& [name, layers] : image_->layers_above()) above["image." + name] = layers;
    for (const auto& [name, layers] : text_->layers_above()) above["text." + name] = layers;
    if (!selection_) return above;
    for (const auto& parameter : selection_->named_parameters()) above["selection." + parameter.key()] = 0;
    return above;
  }

 private:
  // With the pair "selected" as well, behind a cut. Texts' norm before images'.
  ForwardPass begin_selecting(const Batch& batch, const DropoutKey& key, const TokenRequest& tokens) {
    if (tokens.text) throw std::logic_error("ClipModel: no text tokens from a model that selects some");
    ForwardPass pass;
    pass.texts.pairs = {{"global", {}, {}}, {"selected", {}, {}}};
    const SelectedTokens words = select_words(batch.tokens, key);
    pass.texts.pairs[0].text = words.feature;
    pass.texts.pairs[1].text = behind_cut(*selection_->text, words, pass.texts);
    pass.finish = [this, key, images = batch.images, features = pass.texts]() mutable {
      const SelectedTokens patches = select_patches(images, key);
      features.pairs[0].image = patches.feature;
      features.pairs[1].image = behind_cut(*selection_->image, patches, features);
      return std::move(features);
    };
    return pass;
  }

  static at::Tensor behind_cut(const SelectionHead& head, const SelectedTokens& selected, Features& features) {
    if (!at::GradMode::is_enabled() || !head.is_training()) return head.forward(selected.tokens, selected.counts);
    const at::Tensor start = selected.tokens.detach().requires_grad_();
    const at::Tensor feature = head.forward(start, selected.counts);
    features.cuts.push_back({feature, start, selected.tokens});
    return feature;
  }

  SelectedTokens select_patches(const at::Tensor& images, const DropoutKey& key) const {
    if (images.size(0) == 0) return {nothing(), nothing().unsqueeze(1), {}};
    return image_->forward_selected(images, key, patches_);
  }

  SelectedTokens select_words(const at::Tensor& tokens, const DropoutKey& key) const {
    if (tokens.size(0) == 0) return {nothing(), nothing().unsqueeze(1), {}};
    return text_->forward_selected(tokens, key, image_->dropout_layers(), words_, padding_);
  }

  // Rows of length 1 whose cosine is the mean of both.
  static at::Tensor both(const at::Tensor& feature, const at::Tensor& selected) {
    return at::cat({unit(feature), unit(selected)}, 1) * std::sqrt(0.5);
  }

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
  int64_t patches_, words_;  // that are selected
  bool padding_;
  std::shared_ptr<ImageTower> image_;
  std::shared_ptr<TextTower> text_;
  std::shared_ptr<Selection> selection_;  // null: one pair of features
};

}  // namespace

std::shared_ptr<Model> make_clip_model(const ModelConfig& config, uint64_t seed) {
  return std::make_shared<ClipModel>(config, seed);
}

}  // namespace muster
