// RDE's token selection embedding (Qin et al., CVPR 2024; github.com/QinYang79/RDE, model/CrossEmbeddingLayer_tse.py):
// from the selected tokens x of an image or a caption to its second feature.
//
//   x' = x / (||x|| + 1e-8)
//   feature = max over the tokens of  output(relu(norm(hidden(x')))) + residual(x')    number by number
//
// norm is batch norm over the tokens of all rows of all ranks (batch_norm.h). Public code differs in two places: it
// fills captions of fewer words up with padding, which then counts in the norm (model.token_selection.padding), and it
// fails on a caption without words, whose feature is 0 here, which no loss sees.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <memory>
#include <string>

#include "comm/communicator.h"
#include "trainer/encoders/batch_norm.h"
#include "trainer/encoders/clip_towers.h"
#include "trainer/encoders/initialiser.h"
#include "trainer/encoders/model_config.h"

namespace muster {

// Patches that are selected of an image, and words of a caption, at the most; 0 without selection.
int64_t selected_patches(const ModelConfig& config);
int64_t selected_words(const ModelConfig& config);

// Of one tower.
class SelectionHead : public torch::nn::Module {
 public:
  // First values as PyTorch's Linear has them.
  SelectionHead(const ModelConfig& config, Initialiser& initialiser);

  // As BatchNorm::join().
  void join(Communicator& communicator, const std::string& name) { norm_->join(communicator, name); }

  // tokens [b, k, joint width] and counts as SelectedTokens has them -> [b, width].
  at::Tensor forward(const at::Tensor& tokens, const at::Tensor& counts) const;

 private:
  // [n, joint width] -> [n, width], token by token but for the norm.
  at::Tensor transform(const at::Tensor& tokens) const;

  bool padding_;
  std::shared_ptr<Linear> residual_, hidden_;
  std::shared_ptr<BatchNorm> norm_;
  std::shared_ptr<Linear> output_;
};

}  // namespace muster
