#include "trainer/heads/reconstruction_block.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>

#include <optional>

namespace muster {

ContextAttention::ContextAttention(const BlockOptions& options, bool chooses, Initialiser& initialiser)
    : heads_(options.heads) {
  const int64_t width = options.width;
  const auto linear = [&](const char* name, double deviation) {
    return register_module(name,
                           std::make_shared<Linear>(initialiser.normal({width, width}, deviation), at::zeros({width})));
  };
  if (chooses) {
    norm_ = register_module("norm", std::make_shared<LayerNorm>(width));
    query_ = linear("query", options.scales.attention);
    key_ = linear("key", options.scales.attention);
  }
  value_ = linear("value", options.scales.attention);
  output_ = linear("output", options.scales.output);
}

at::Tensor ContextAttention::split(const at::Tensor& x) const {
  return x.view({x.size(0), x.size(1), heads_, x.size(2) / heads_}).transpose(1, 2);
}

at::Tensor ContextAttention::forward(const at::Tensor& words, const at::Tensor& context, const at::Tensor& seen) const {
  const at::Tensor values = value_->forward(context);
  if (!query_) return output_->forward(values).expand_as(words);
  std::optional<at::Tensor> mask;
  if (seen.defined()) mask = seen.view({seen.size(0), 1, 1, seen.size(1)});
  const at::Tensor attended = at::scaled_dot_product_attention(split(query_->forward(norm_->forward(words))),
                                                               split(key_->forward(context)), split(values), mask);
  return output_->forward(attended.transpose(1, 2).reshape(words.sizes()));
}

ReconstructionBlock::ReconstructionBlock(const BlockOptions& options, bool chooses, Initialiser& initialiser) {
  self_ = register_module("self", std::make_shared<PreNormBlock>(options, initialiser));
  context_ = register_module("context", std::make_shared<ContextAttention>(options, chooses, initialiser));
  mlp_norm_ = register_module("mlp_norm", std::make_shared<LayerNorm>(options.width));
  mlp_ = register_module("mlp", std::make_shared<Mlp>(options, initialiser));
}

at::Tensor ReconstructionBlock::meet(const at::Tensor& words, const at::Tensor& context) const {
  const at::Tensor met = words + context_->forward(words, context);
  return met + mlp_->forward(mlp_norm_->forward(met));
}

at::Tensor ReconstructionBlock::forward(const at::Tensor& x, const at::Tensor& context, const at::Tensor& seen) const {
  return meet(self_->forward(x, {}, 0, {}, seen), context);
}

at::Tensor ReconstructionBlock::forward_rows(const at::Tensor& x, const at::Tensor& context, const at::Tensor& seen,
                                             const at::Tensor& rows, const at::Tensor& sample) const {
  const at::Tensor words = self_->forward(x, {}, 0, rows, seen).unsqueeze(1);
  return meet(words, context.index_select(0, sample)).squeeze(1);
}

}  // namespace muster
