#include "trainer/encoders/clip_towers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/where.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "launch/error.h"
#include "trainer/encoders/host_to_device.h"

namespace muster {
namespace {

double inverse_root(int64_t value) {
  return 1.0 / std::sqrt(static_cast<double>(value));
}

// OpenAI gave the blocks of the vision transformer PyTorch's defaults, and those of the text transformer these.
BlockScales text_scales(const TextConfig& config) {
  const double width = inverse_root(config.width());
  return {width, width * inverse_root(2 * config.layers()), inverse_root(2 * config.width())};
}

// Of each row its `query` and the `count` tokens of most weight, of equal weight the first; [b, 1 + count] places.
// weights [b, n] are of the tokens from the place `first` [b] on.
at::Tensor chosen_rows(const at::Tensor& weights, const at::Tensor& query, const at::Tensor& first, int64_t count) {
  const at::Tensor order = std::get<1>(at::sort(weights, /*stable=*/true, /*dim=*/1, /*descending=*/true));
  return at::cat({query.unsqueeze(1), first.unsqueeze(1) + order.narrow(1, 0, count)}, 1);
}

struct EndTokens {
  at::Tensor places;  // [b]
  int64_t used;       // tokens up to the last of them
};

EndTokens find_end_tokens(const at::Tensor& tokens, int64_t vocabulary) {
  const int64_t batch = tokens.size(0), context = tokens.size(1);
  EndTokens ends{at::empty({batch}, at::kLong), 0};
  const int64_t* ids = tokens.const_data_ptr<int64_t>();
  int64_t* places = ends.places.mutable_data_ptr<int64_t>();
  for (int64_t row = 0; row < batch; ++row, ids += context) {
    const auto [least, most] = std::minmax_element(ids, ids + context);
    if (*least < 0 || *most >= vocabulary) {
      throw ConfigError(
          fmt::format("token id {} is outside model.text.vocabulary ({}): the tokenizer and the model do not match",
                      *least < 0 ? *least : *most, vocabulary));
    }
    places[row] = std::max_element(ids, ids + context) - ids;
    ends.used = std::max(ends.used, places[row] + 1);
  }
  return ends;
}

// Places of the class tokens among the b * T.
at::Tensor class_rows(const at::Tensor& tokens) {
  return at::arange(tokens.size(0), tokens.options().dtype(at::kLong).requires_grad(false)).mul_(tokens.size(1));
}

}  // namespace

ImageTower::ImageTower(const ModelConfig& config, Initialiser& initialiser)
    : height_(config.image().height_pixels()),
      width_pixels_(config.image().width_pixels()),
      patch_size_(config.image().patch()) {
  const VisionConfig& image = config.image();
  const int64_t width = image.width(), pixels = 3 * patch_size_ * patch_size_;
  const int64_t patches = (height_ / patch_size_) * (width_pixels_ / patch_size_);
  const double scale = inverse_root(width);
  patch_ = register_module(
      "patch", std::make_shared<Linear>(initialiser.uniform({width, pixels}, inverse_root(pixels)), at::Tensor()));
  class_embedding_ = register_parameter("class_embedding", initialiser.normal({width}, scale));
  position_embedding_ = register_parameter("position_embedding", initialiser.normal({1 + patches, width}, scale));
  pre_norm_ = register_module("pre_norm", std::make_shared<LayerNorm>(width));
  const BlockOptions options{width, image.heads(), config.activation(), BlockScales(), /*causal=*/false};
  blocks_ = register_module("blocks", std::make_shared<Blocks>(image.layers(), options, initialiser));
  post_norm_ = register_module("post_norm", std::make_shared<LayerNorm>(width));
  projection_ = register_parameter("projection", initialiser.normal({width, config.joint_width()}, scale));
}

at::Tensor ImageTower::unfold(const at::Tensor& images) const {
  const int64_t batch = images.size(0), rows = height_ / patch_size_, columns = width_pixels_ / patch_size_;
  return images.reshape({batch, 3, rows, patch_size_, columns, patch_size_})
      .permute({0, 2, 4, 1, 3, 5})
      .reshape({batch, rows * columns, 3 * patch_size_ * patch_size_});
}

at::Tensor ImageTower::embed(const at::Tensor& images) const {
  if (images.dim() != 4 || images.size(1) != 3 || images.size(2) != height_ || images.size(3) != width_pixels_) {
    throw ConfigError(fmt::format("images of shape [{}] do not fit model.image.height_pixels x width_pixels ({} x {})",
                                  fmt::join(images.sizes(), ", "), height_, width_pixels_));
  }
  const int64_t batch = images.size(0);
  const at::Tensor patches =
      patch_->forward(unfold(host_to_device(images, projection_.device())).to(projection_.scalar_type()));
  return at::cat({class_embedding_.expand({batch, 1, -1}), patches}, 1) + position_embedding_;
}

at::Tensor ImageTower::project(const at::Tensor& outputs) const {
  return at::matmul(post_norm_->forward(outputs), projection_).to(projection_.scalar_type());
}

at::Tensor ImageTower::forward(const at::Tensor& images, const DropoutKey& dropout) const {
  const at::Tensor tokens = embed(images);
  return project(blocks_->forward(pre_norm_->forward(tokens), dropout, 0, class_rows(tokens)));
}

ImageTower::Outputs ImageTower::forward_tokens(const at::Tensor& images, const DropoutKey& dropout) const {
  const at::Tensor outputs = project(blocks_->forward(pre_norm_->forward(embed(images)), dropout, 0, {}));
  return {outputs.flatten(0, 1).index_select(0, class_rows(outputs)), outputs};
}

at::Tensor ImageTower::forward_tokens(const at::Tensor& images, const at::Tensor& kept, const DropoutKey& dropout,
                                      uint32_t first_layer) const {
  const at::Tensor all = embed(images);
  const int64_t batch = all.size(0), width = all.size(2);
  const at::Tensor first = at::arange(batch, at::kLong).mul_(all.size(1)).unsqueeze(1);
  const at::Tensor rows = host_to_device(at::cat({first, first + 1 + kept}, 1).flatten(), all.device());
  const at::Tensor tokens = all.flatten(0, 1).index_select(0, rows).view({batch, 1 + kept.size(1), width});
  return project(blocks_->forward(pre_norm_->forward(tokens), dropout, first_layer, {}));
}

SelectedTokens ImageTower::forward_selected(const at::Tensor& images, const DropoutKey& dropout, int64_t count) const {
  const at::Tensor tokens = embed(images);
  const int64_t batch = tokens.size(0);
  const at::Tensor class_rows =
      at::arange(batch, tokens.options().dtype(at::kLong).requires_grad(false)).mul_(tokens.size(1));
  const auto choose = [&](const at::Tensor& weights) {
    return chosen_rows(weights.slice(1, 1), class_rows, class_rows + 1, count);
  };
  const at::Tensor outputs =
      project(blocks_->forward_chosen(pre_norm_->forward(tokens), dropout, 0, {class_rows, choose}));
  return {outputs.select(1, 0), outputs.slice(1, 1), {}};
}

std::map<std::string, int64_t> ImageTower::layers_above() const {
  std::vector<at::Tensor> behind = post_norm_->parameters();
  behind.push_back(projection_);
  return blocks_->layers_above(*this, behind);
}

TextTower::TextTower(const ModelConfig& config, Initialiser& initialiser) {
  const TextConfig& text = config.text();
  const int64_t width = text.width();
  token_embedding_ = register_parameter("token_embedding", initialiser.normal({text.vocabulary(), width}, 0.02));
  position_embedding_ = register_parameter("position_embedding", initialiser.normal({text.context(), width}, 0.01));
  const BlockOptions options{width, text.heads(), config.activation(), text_scales(text), /*causal=*/true};
  blocks_ = register_module("blocks", std::make_shared<Blocks>(text.layers(), options, initialiser));
  final_norm_ = register_module("final_norm", std::make_shared<LayerNorm>(width));
  projection_ =
      register_parameter("projection", initialiser.normal({width, config.joint_width()}, inverse_root(width)));
}

TextTower::Embedded TextTower::embed(const at::Tensor& tokens, bool padding) const {
  const int64_t context = position_embedding_.size(0);
  if (tokens.dim() != 2 || tokens.size(1) < 1 || tokens.size(1) > context) {
    throw ConfigError(fmt::format("tokens of shape [{}] do not fit model.text.context ({})",
                                  fmt::join(tokens.sizes(), ", "), context));
  }
  const EndTokens ends = find_end_tokens(tokens.contiguous(), token_embedding_.size(0));
  const int64_t used = padding ? tokens.size(1) : ends.used;
  // Its sparse gradient is added to the rows of the batch's tokens; a dense one would be as large as the table.
  const at::Tensor embedded =
      at::embedding(token_embedding_, host_to_device(tokens.narrow(1, 0, used), token_embedding_.device()),
                    /*padding_idx=*/-1,
                    /*scale_grad_by_freq=*/false, /*sparse=*/true);
  const at::Tensor rows = at::arange(tokens.size(0), at::kLong).mul_(used).add_(ends.places);
  return {ends.places, host_to_device(rows, token_embedding_.device()),
          embedded + position_embedding_.narrow(0, 0, used)};
}

at::Tensor TextTower::project(const at::Tensor& outputs) const {
  return at::matmul(final_norm_->forward(outputs), projection_).to(projection_.scalar_type());
}

at::Tensor TextTower::forward(const at::Tensor& tokens, const DropoutKey& dropout, uint32_t first_layer) const {
  const auto [places, ends, x] = embed(tokens, false);
  return project(blocks_->forward(x, dropout, first_layer, ends));
}

TextTower::Outputs TextTower::forward_tokens(const at::Tensor& tokens, const DropoutKey& dropout, uint32_t first_layer,
                                             bool padding) const {
  const auto [places, ends, x] = embed(tokens, padding);
  const at::Tensor outputs = project(blocks_->forward(x, dropout, first_layer, {}));
  return {outputs.flatten(0, 1).index_select(0, ends), outputs};
}

// Words stand between the first token and the end. Where there are too few, what is behind the end follows, the first
// of it first, and what no feature may be made of last.
SelectedTokens TextTower::forward_selected(const at::Tensor& tokens, const DropoutKey& dropout, uint32_t first_layer,
                                           int64_t count, bool padding) const {
  const auto [places, ends, x] = embed(tokens, padding);
  const int64_t used = x.size(1), chosen = std::max<int64_t>(1, std::min(count, used - 2));
  const at::Tensor place = at::arange(used, at::kFloat).unsqueeze(0), end = places.unsqueeze(1);
  const at::Tensor is_word = host_to_device((place >= 1).logical_and(place < end), x.device());
  const at::Tensor rest =
      host_to_device(at::where(place > end, -1 - place, -2.0 - static_cast<double>(used)), x.device());
  const at::Tensor first = ends - host_to_device(places, x.device());
  const auto choose = [&, &query = ends](const at::Tensor& weights) {
    return chosen_rows(at::where(is_word, weights, rest.to(weights.scalar_type())), query, first, chosen);
  };
  const at::Tensor outputs = project(blocks_->forward_chosen(x, dropout, first_layer, {ends, choose}));
  const at::Tensor words = (places - 1).clamp(0, chosen);
  return {outputs.select(1, 0), outputs.slice(1, 1), words.eq(chosen).all().item<bool>() ? at::Tensor() : words};
}

std::map<std::string, int64_t> TextTower::layers_above() const {
  std::vector<at::Tensor> behind = final_norm_->parameters();
  behind.push_back(projection_);
  return blocks_->layers_above(*this, behind);
}

}  // namespace muster
