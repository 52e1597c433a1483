#include "trainer/encoders/post_norm.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <string>

namespace muster {
namespace {

std::shared_ptr<Linear> make_linear(int64_t out, int64_t in, double scale, Initialiser& initialiser) {
  if (scale >= 0) return std::make_shared<Linear>(initialiser.normal({out, in}, scale), at::zeros({out}));
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  at::Tensor weight = initialiser.uniform({out, in}, bound);
  return std::make_shared<Linear>(std::move(weight), initialiser.uniform({out}, bound));
}

}  // namespace

PostNormBlock::PostNormBlock(const PostNormOptions& options, Initialiser& initialiser)
    : activation_(options.activation) {
  const BlockScales scales{options.scale, options.scale, options.scale};
  const BlockOptions attention{options.width, options.heads, ModelConfig::GELU, scales, /*causal=*/false};
  attention_ = register_module("attention", std::make_shared<Attention>(attention, initialiser));
  attention_norm_ = register_module("attention_norm", std::make_shared<LayerNorm>(options.width, options.norm_epsilon));
  expand_ = register_module("expand", make_linear(options.hidden, options.width, options.scale, initialiser));
  contract_ = register_module("contract", make_linear(options.width, options.hidden, options.scale, initialiser));
  mlp_norm_ = register_module("mlp_norm", std::make_shared<LayerNorm>(options.width, options.norm_epsilon));
}

at::Tensor PostNormBlock::forward(const at::Tensor& x, const at::Tensor& seen, const DropoutKey& dropout,
                                  uint32_t layer) const {
  const at::Tensor heads = attention_->heads(x, seen);
  const at::Tensor attended = attention_norm_->forward(add_with_dropout(x, attention_->output(heads), dropout, layer));
  const at::Tensor expanded = expand_->forward(attended);
  at::Tensor hidden = activation_ == PostNormOptions::kRelu ? at::relu(expanded) : at::gelu(expanded);
  // PyTorch's encoder drops hidden units too, BERT does not; without dropout nothing is added to zeros.
  if (dropout.active() && activation_ == PostNormOptions::kRelu) {
    hidden = add_with_dropout(at::zeros_like(hidden), hidden, dropout, layer + 1);
  }
  return mlp_norm_->forward(add_with_dropout(attended, contract_->forward(hidden), dropout, layer + 2));
}

PostNormBlocks::PostNormBlocks(int64_t layers, const PostNormOptions& options, bool equal_start,
                               Initialiser& initialiser) {
  for (int64_t i = 0; i < layers; ++i) {
    blocks_.push_back(register_module(std::to_string(i), std::make_shared<PostNormBlock>(options, initialiser)));
    if (!equal_start || i == 0) continue;
    const at::NoGradGuard no_grad;
    const std::vector<at::Tensor> first = blocks_.front()->parameters(), own = blocks_.back()->parameters();
    for (size_t k = 0; k < own.size(); ++k) own[k].copy_(first[k]);
  }
}

at::Tensor PostNormBlocks::forward(at::Tensor x, const at::Tensor& seen, const DropoutKey& dropout,
                                   uint32_t first_layer) const {
  for (size_t i = 0; i < blocks_.size(); ++i) {
    x = blocks_[i]->forward(x, seen, dropout, first_layer + static_cast<uint32_t>(3 * i));
  }
  return x;
}

}  // namespace muster
