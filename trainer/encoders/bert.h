// BERT's encoder (Devlin et al., 2019) of any depth, from token ids to hidden states; no pooler, no heads.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <string>

#include "trainer/encoders/post_norm.h"

namespace muster {

struct BertSizes {
  int64_t vocabulary = 30522;
  int64_t positions = 512;
  int64_t width = 768;
  int64_t layers = 12;
  int64_t heads = 12;
  int64_t hidden = 3072;
};

class Bert : public torch::nn::Module {
 public:
  Bert(const BertSizes& sizes, Initialiser& initialiser);

  // tokens [b, L] int64 on the CPU, [CLS] ... [SEP] and zeros: [b, T, width], T reaching to the batch's longest
  // caption; rows behind a caption's end are meaningless. Hidden states of `layers` blocks of it are those of a deeper
  // model's first blocks. Uses dropout layers from first_layer. ConfigError: L or an id out of range.
  at::Tensor forward(const at::Tensor& tokens, const DropoutKey& dropout, uint32_t first_layer) const;
  uint32_t dropout_layers() const { return 1 + blocks_->dropout_layers(); }
  int64_t layers() const { return blocks_->layers(); }
  const at::Tensor& token_embedding() const { return token_embedding_; }

 private:
  BertSizes sizes_;
  at::Tensor token_embedding_, position_embedding_, type_embedding_;  // [vocabulary, w], [positions, w], [2, w]
  std::shared_ptr<LayerNorm> embedding_norm_;
  std::shared_ptr<PostNormBlocks> blocks_;
};

// Numbers of tokens of each caption, its start and end included: ids up to the last that is not 0. [b, L] -> [b].
std::vector<int64_t> token_counts(const at::Tensor& tokens);

}  // namespace muster
