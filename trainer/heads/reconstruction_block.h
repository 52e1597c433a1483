// A block of MMRef's local reconstruction: FFN2(MCA(FFN1(MSA(x)), K, V)), layer norms first, a residual around each.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "trainer/encoders/transformer.h"

namespace muster {

// Attention of words (or patches), normalised first, to the tokens of their own sample's context.
class ContextAttention : public torch::nn::Module {
 public:
  // Without `chooses` there is one token, whose value is the answer whatever the word.
  ContextAttention(const BlockOptions& options, bool chooses, Initialiser& initialiser);

  // words [g, n, w], context [g, T, w] -> [g, n, w]. `seen` (bool [g, T]): false for context that none may look at.
  at::Tensor forward(const at::Tensor& words, const at::Tensor& context, const at::Tensor& seen = {}) const;

 private:
  at::Tensor split(const at::Tensor& x) const;  // [g, n, w] -> [g, heads, n, w / heads]

  int64_t heads_;
  std::shared_ptr<LayerNorm> norm_;      // none without `chooses`,
  std::shared_ptr<Linear> query_, key_;  // and none of these
  std::shared_ptr<Linear> value_, output_;
};

class ReconstructionBlock : public torch::nn::Module {
 public:
  ReconstructionBlock(const BlockOptions& options, bool chooses, Initialiser& initialiser);

  // x [b, L, w], context [b, T, w], seen [b, L] bool: false for tokens that none may look at. -> [b, L, w]
  at::Tensor forward(const at::Tensor& x, const at::Tensor& context, const at::Tensor& seen) const;

  // The same of some tokens only: rows [n] int64, indices into the b * L; sample [n] int64, whose token each is.
  // -> [n, w]
  at::Tensor forward_rows(const at::Tensor& x, const at::Tensor& context, const at::Tensor& seen,
                          const at::Tensor& rows, const at::Tensor& sample) const;

 private:
  at::Tensor meet(const at::Tensor& words, const at::Tensor& context) const;

  std::shared_ptr<PreNormBlock> self_;
  std::shared_ptr<ContextAttention> context_;
  std::shared_ptr<LayerNorm> mlp_norm_;
  std::shared_ptr<Mlp> mlp_;
};

}  // namespace muster
