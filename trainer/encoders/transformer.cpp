#include "trainer/encoders/transformer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>

namespace muster {
namespace {

constexpr double kQuickGeluFactor = 1.702;

at::Tensor weight(int64_t out, int64_t in, double standard_deviation, double default_bound, Initialiser& initialiser) {
  if (standard_deviation < 0) return initialiser.uniform({out, in}, default_bound);
  return initialiser.normal({out, in}, standard_deviation);
}

double default_bound(int64_t fan_in) {
  return 1.0 / std::sqrt(static_cast<double>(fan_in));
}

}  // namespace

at::Tensor activate(const at::Tensor& x, ModelConfig::Activation activation) {
  return activation == ModelConfig::GELU ? at::gelu(x) : x * at::sigmoid(x * kQuickGeluFactor);
}

Linear::Linear(at::Tensor weight, at::Tensor bias) {
  weight_ = register_parameter("weight", std::move(weight));
  if (bias.defined()) bias_ = register_parameter("bias", std::move(bias));
}

at::Tensor Linear::forward(const at::Tensor& x) const {
  return at::linear(x, weight_, bias_);
}

LayerNorm::LayerNorm(int64_t width, double epsilon) : epsilon_(epsilon) {
  weight_ = register_parameter("weight", at::ones({width}));
  bias_ = register_parameter("bias", at::zeros({width}));
}

at::Tensor LayerNorm::forward(const at::Tensor& x) const {
  return at::layer_norm(x, weight_.sizes(), weight_, bias_, epsilon_);
}

Attention::Attention(const BlockOptions& options, Initialiser& initialiser)
    : heads_(options.heads), causal_(options.causal) {
  const int64_t width = options.width;
  const double xavier = std::sqrt(6.0 / static_cast<double>(4 * width));
  qkv_ = register_module(
      "qkv", std::make_shared<Linear>(weight(3 * width, width, options.scales.attention, xavier, initialiser),
                                      at::zeros({3 * width})));
  output_ = register_module(
      "output", std::make_shared<Linear>(weight(width, width, options.scales.output, default_bound(width), initialiser),
                                         at::zeros({width})));
}

std::vector<at::Tensor> Attention::project(const at::Tensor& x) const {
  const int64_t batch = x.size(0), tokens = x.size(1), width = x.size(2);
  return qkv_->forward(x).view({batch, tokens, 3, heads_, width / heads_}).permute({2, 0, 3, 1, 4}).unbind(0);
}

at::Tensor Attention::attend(const std::vector<at::Tensor>& parts, const at::Tensor& seen) const {
  const int64_t batch = parts[0].size(0), tokens = parts[0].size(2);
  // Its own dropout stays off: that draws from the process's generator.
  std::optional<at::Tensor> mask;
  if (seen.defined()) mask = seen.view({batch, 1, 1, tokens});
  const at::Tensor values =
      at::scaled_dot_product_attention(parts[0], parts[1], parts[2], mask, /*dropout_p=*/0.0, causal_);
  return values.transpose(1, 2).reshape({batch, tokens, heads_ * parts[0].size(3)});
}

// The fused kernel keeps its weights to itself.
at::Tensor Attention::looks_of(const std::vector<at::Tensor>& parts, const at::Tensor& queries) const {
  const at::NoGradGuard no_graph;
  const int64_t tokens = parts[0].size(2);
  const at::Tensor query = parts[0].transpose(1, 2).flatten(0, 1).index_select(0, queries);  // [b, heads, w / heads]
  const double scale = 1.0 / std::sqrt(static_cast<double>(parts[0].size(3)));
  at::Tensor scores = at::matmul(parts[1], query.unsqueeze(-1)).squeeze(-1) * scale;
  if (scores.scalar_type() != at::kDouble) scores = scores.to(at::kFloat);
  if (causal_) {
    const at::Tensor later = at::arange(tokens, queries.options()) > queries.remainder(tokens).unsqueeze(1);
    scores.masked_fill_(later.unsqueeze(1), -std::numeric_limits<double>::infinity());
  }
  return at::softmax(scores, 2).mean(1);
}

at::Tensor Attention::heads(const at::Tensor& x, const at::Tensor& seen) const {
  return attend(project(x), seen);
}

Attention::Looks Attention::heads_and_looks(const at::Tensor& x, const at::Tensor& queries) const {
  const std::vector<at::Tensor> parts = project(x);
  return {attend(parts, {}), looks_of(parts, queries)};
}

Mlp::Mlp(const BlockOptions& options, Initialiser& initialiser) : activation_(options.activation) {
  const int64_t width = options.width, hidden = 4 * width;
  at::Tensor expand = weight(hidden, width, options.scales.expand, default_bound(width), initialiser);
  expand_ =
      register_module("expand", std::make_shared<Linear>(expand, initialiser.uniform({hidden}, default_bound(width))));
  at::Tensor contract = weight(width, hidden, options.scales.output, default_bound(hidden), initialiser);
  contract_ = register_module("contract",
                              std::make_shared<Linear>(contract, initialiser.uniform({width}, default_bound(hidden))));
}

at::Tensor Mlp::forward(const at::Tensor& x) const {
  return contract_->forward(activate(expand_->forward(x), activation_));
}

PreNormBlock::PreNormBlock(const BlockOptions& options, Initialiser& initialiser) {
  attention_norm_ = register_module("attention_norm", std::make_shared<LayerNorm>(options.width));
  attention_ = register_module("attention", std::make_shared<Attention>(options, initialiser));
  mlp_norm_ = register_module("mlp_norm", std::make_shared<LayerNorm>(options.width));
  mlp_ = register_module("mlp", std::make_shared<Mlp>(options, initialiser));
}

at::Tensor PreNormBlock::forward(const at::Tensor& x, const DropoutKey& dropout, uint32_t layer, const at::Tensor& rows,
                                 const at::Tensor& seen) const {
  return carry_on(x, attention_->heads(attention_norm_->forward(x), seen), rows, dropout, layer);
}

at::Tensor PreNormBlock::forward_chosen(const at::Tensor& x, const DropoutKey& dropout, uint32_t layer,
                                        const RowChoice& choice) const {
  const Attention::Looks looks = attention_->heads_and_looks(attention_norm_->forward(x), choice.queries);
  return carry_on(x, looks.heads, choice.choose(looks.weights), dropout, layer);
}

at::Tensor PreNormBlock::carry_on(const at::Tensor& x, at::Tensor heads, const at::Tensor& rows,
                                  const DropoutKey& dropout, uint32_t layer) const {
  at::Tensor residual = x;
  if (rows.defined()) {
    std::vector<int64_t> sizes = rows.sizes().vec();
    sizes.push_back(x.size(2));
    const at::Tensor places = rows.flatten();
    heads = heads.flatten(0, 1).index_select(0, places).view(sizes);
    residual = x.flatten(0, 1).index_select(0, places).view(sizes);
  }
  const at::Tensor attended = add_with_dropout(residual, attention_->output(heads), dropout, layer);
  return add_with_dropout(attended, mlp_->forward(mlp_norm_->forward(attended)), dropout, layer + 1);
}

Blocks::Blocks(int64_t layers, const BlockOptions& options, Initialiser& initialiser) {
  for (int64_t i = 0; i < layers; ++i) {
    blocks_.push_back(register_module(std::to_string(i), std::make_shared<PreNormBlock>(options, initialiser)));
  }
}

at::Tensor Blocks::forward_below(at::Tensor x, const DropoutKey& dropout, uint32_t first_layer,
                                 const at::Tensor& seen) const {
  for (size_t i = 0; i + 1 < blocks_.size(); ++i) {
    x = blocks_[i]->forward(x, dropout, first_layer + static_cast<uint32_t>(2 * i), {}, seen);
  }
  return x;
}

at::Tensor Blocks::forward(at::Tensor x, const DropoutKey& dropout, uint32_t first_layer, const at::Tensor& rows,
                           const at::Tensor& seen) const {
  return blocks_.back()->forward(forward_below(std::move(x), dropout, first_layer, seen), dropout,
                                 last_layer(first_layer), rows, seen);
}

at::Tensor Blocks::forward_chosen(at::Tensor x, const DropoutKey& dropout, uint32_t first_layer,
                                  const RowChoice& choice) const {
  return blocks_.back()->forward_chosen(forward_below(std::move(x), dropout, first_layer), dropout,
                                        last_layer(first_layer), choice);
}

std::map<std::string, int64_t> Blocks::layers_above(const torch::nn::Module& tower,
                                                    const std::vector<at::Tensor>& behind) const {
  std::map<const c10::TensorImpl*, int64_t> known;
  for (const at::Tensor& parameter : behind) known[parameter.unsafeGetTensorImpl()] = 0;
  const auto layers = static_cast<int64_t>(blocks_.size());
  for (int64_t i = 0; i < layers; ++i) {
    for (const at::Tensor& parameter : blocks_[static_cast<size_t>(i)]->parameters()) {
      known[parameter.unsafeGetTensorImpl()] = layers - i;
    }
  }
  std::map<std::string, int64_t> above;
  for (const auto& parameter : tower.named_parameters()) {
    const auto found = known.find(parameter.value().unsafeGetTensorImpl());
    above[parameter.key()] = found == known.end() ? layers + 1 : found->second;
  }
  return above;
}

}  // namespace muster
