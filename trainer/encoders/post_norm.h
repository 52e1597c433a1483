// Transformer encoders with layer norms last (Vaswani et al., 2017), as BERT's and PyTorch's TransformerEncoder are.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "trainer/encoders/transformer.h"

namespace muster {

struct PostNormOptions {
  int64_t width;
  int64_t heads;   // they divide the width
  int64_t hidden;  // of the MLP
  enum Activation { kRelu, kGelu } activation = kRelu;
  double norm_epsilon = 1e-5;
  // Standard deviation of all matrices, biases 0 (BERT's 0.02); negative: PyTorch's defaults.
  double scale = -1;
};

// x = norm(x + attention(x)), x = norm(x + MLP(x)).
class PostNormBlock : public torch::nn::Module {
 public:
  PostNormBlock(const PostNormOptions& options, Initialiser& initialiser);

  // [b, T, w] -> [b, T, w]. `seen` (bool [b, T]): false for tokens that none may look at; each sample has one that is
  // true. Undefined: all. Uses the dropout layers `layer` to layer + 2.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& seen, const DropoutKey& dropout, uint32_t layer) const;

 private:
  PostNormOptions::Activation activation_;
  std::shared_ptr<Attention> attention_;
  std::shared_ptr<LayerNorm> attention_norm_;
  std::shared_ptr<Linear> expand_, contract_;
  std::shared_ptr<LayerNorm> mlp_norm_;
};

// A stack of them.
class PostNormBlocks : public torch::nn::Module {
 public:
  // `equal_start`: every block begins with the first one's values, as PyTorch's TransformerEncoder makes them.
  PostNormBlocks(int64_t layers, const PostNormOptions& options, bool equal_start, Initialiser& initialiser);

  at::Tensor forward(at::Tensor x, const at::Tensor& seen, const DropoutKey& dropout, uint32_t first_layer) const;
  uint32_t dropout_layers() const { return static_cast<uint32_t>(3 * blocks_.size()); }
  int64_t layers() const { return static_cast<int64_t>(blocks_.size()); }

 private:
  std::vector<std::shared_ptr<PostNormBlock>> blocks_;
};

}  // namespace muster
