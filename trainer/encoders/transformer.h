// The blocks of CLIP's two transformers (Vaswani et al., 2017, with layer norms first).
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trainer/encoders/dropout.h"
#include "trainer/encoders/encoders.pb.h"
#include "trainer/encoders/initialiser.h"

namespace muster {

// Standard deviations of a block's weights. A negative one means PyTorch's default for that layer.
struct BlockScales {
  double attention = -1;  // default: uniform in +-sqrt(6 / (fan in + fan out))
  double output = -1;     // of the two layers that write to the residual stream; default as expand
  double expand = -1;     // default: uniform in +-sqrt(1 / fan in)
};

struct BlockOptions {
  int64_t width;
  int64_t heads;
  ModelConfig::Activation activation;
  BlockScales scales;
  bool causal;
};

// Element by element.
at::Tensor activate(const at::Tensor& x, ModelConfig::Activation activation);

class Linear : public torch::nn::Module {
 public:
  // Takes the first values: weight [out, in], bias [out] or undefined.
  Linear(at::Tensor weight, at::Tensor bias);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  at::Tensor weight_, bias_;
};

class LayerNorm : public torch::nn::Module {
 public:
  explicit LayerNorm(int64_t width, double epsilon = 1e-5);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  double epsilon_;
  at::Tensor weight_, bias_;
};

// Self-attention up to, but not including, its output layer.
class Attention : public torch::nn::Module {
 public:
  Attention(const BlockOptions& options, Initialiser& initialiser);
  // [b, T, w] -> [b, T, w]: the heads' values, joined. `seen` (bool [b, T], not with a causal mask): false for tokens
  // that none may look at.
  at::Tensor heads(const at::Tensor& x, const at::Tensor& seen = {}) const;
  at::Tensor output(const at::Tensor& heads) const { return output_->forward(heads); }

  struct Looks {
    at::Tensor heads;    // as above
    at::Tensor weights;  // [b, T]: how much each row's query looks at each token, the heads' mean; without a graph
  };
  // `queries`: int64 [b], one token of each row, as its place in the b * T.
  Looks heads_and_looks(const at::Tensor& x, const at::Tensor& queries) const;

 private:
  // Queries, keys, values: views [b, heads, T, width of a head].
  std::vector<at::Tensor> project(const at::Tensor& x) const;
  at::Tensor attend(const std::vector<at::Tensor>& parts, const at::Tensor& seen) const;
  at::Tensor looks_of(const std::vector<at::Tensor>& parts, const at::Tensor& queries) const;

  int64_t heads_;
  bool causal_;
  std::shared_ptr<Linear> qkv_, output_;
};

class Mlp : public torch::nn::Module {
 public:
  Mlp(const BlockOptions& options, Initialiser& initialiser);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  ModelConfig::Activation activation_;
  std::shared_ptr<Linear> expand_, contract_;
};

// Tokens that a block carries on are chosen by where some look.
struct RowChoice {
  at::Tensor queries;  // int64 [b], as Attention::heads_and_looks()
  // From these weights [b, T] to the tokens, int64 [b, m] of the b * T.
  std::function<at::Tensor(const at::Tensor& weights)> choose;
};

class PreNormBlock : public torch::nn::Module {
 public:
  PreNormBlock(const BlockOptions& options, Initialiser& initialiser);

  // [b, T, w] -> [b, T, w]. With `rows` (int64 [n], indices into the b * T tokens) only those tokens are carried on
  // after attention, and the result is [n, w]: the same values, without the work for tokens that nobody reads. `seen`
  // as Attention's. Uses the dropout layers `layer` and layer + 1.
  at::Tensor forward(const at::Tensor& x, const DropoutKey& dropout, uint32_t layer, const at::Tensor& rows = {},
                     const at::Tensor& seen = {}) const;
  // The same with m tokens of each row: [b, m, w].
  at::Tensor forward_chosen(const at::Tensor& x, const DropoutKey& dropout, uint32_t layer,
                            const RowChoice& choice) const;

 private:
  // From the heads' values [b, T, w] on.
  at::Tensor carry_on(const at::Tensor& x, at::Tensor heads, const at::Tensor& rows, const DropoutKey& dropout,
                      uint32_t layer) const;

  std::shared_ptr<LayerNorm> attention_norm_;
  std::shared_ptr<Attention> attention_;
  std::shared_ptr<LayerNorm> mlp_norm_;
  std::shared_ptr<Mlp> mlp_;
};

// A stack of blocks.
class Blocks : public torch::nn::Module {
 public:
  Blocks(int64_t layers, const BlockOptions& options, Initialiser& initialiser);

  // [b, T, w] and rows as above -> [n, w]; without rows [b, T, w]. `seen` as above. Uses dropout layers [first_layer,
  // first_layer + dropout_layers()).
  at::Tensor forward(at::Tensor x, const DropoutKey& dropout, uint32_t first_layer, const at::Tensor& rows,
                     const at::Tensor& seen = {}) const;
  // The last block carries on what is chosen: [b, m, w].
  at::Tensor forward_chosen(at::Tensor x, const DropoutKey& dropout, uint32_t first_layer,
                            const RowChoice& choice) const;
  uint32_t dropout_layers() const { return static_cast<uint32_t>(2 * blocks_.size()); }

  // Of each parameter of `tower`, which holds these blocks, by its name there: the layers above it. That is 0 for those
  // in `behind`, 1 in the last block, and so on; all others come before the blocks.
  std::map<std::string, int64_t> layers_above(const torch::nn::Module& tower,
                                              const std::vector<at::Tensor>& behind) const;

 private:
  // All but the last.
  at::Tensor forward_below(at::Tensor x, const DropoutKey& dropout, uint32_t first_layer,
                           const at::Tensor& seen = {}) const;
  uint32_t last_layer(uint32_t first_layer) const { return first_layer + dropout_layers() - 2; }

  std::vector<std::shared_ptr<PreNormBlock>> blocks_;
};

}  // namespace muster
