// CLIP's two towers (Radford et al., 2021; github.com/mlfoundations/open_clip, transformer.py), from pixels and from
// token ids to the joint space.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "trainer/encoders/transformer.h"

namespace muster {

// A feature and some of the tokens beside it.
struct SelectedTokens {
  at::Tensor feature;  // [b, joint width]
  at::Tensor tokens;   // [b, k, joint width], k at least 1, in falling order of weight
  at::Tensor counts;   // int64 [b] on the CPU: the first of the k that are words or patches; undefined: all are
};

// A vision transformer; the class token's output is the feature.
class ImageTower : public torch::nn::Module {
 public:
  ImageTower(const ModelConfig& config, Initialiser& initialiser);

  // [b, 3, H, W] -> [b, joint width]. ConfigError on other sizes.
  at::Tensor forward(const at::Tensor& images, const DropoutKey& dropout) const;

  struct Outputs {
    at::Tensor feature;  // as forward()
    at::Tensor tokens;   // [b, 1 + patches, joint width]: of class token and patches
  };
  Outputs forward_tokens(const at::Tensor& images, const DropoutKey& dropout) const;

  // The outputs of the class token and of the patches `kept` ([b, k] int64 on the CPU, along rows), which alone go
  // through the blocks: [b, 1 + k, joint width]. Uses dropout layers from first_layer.
  at::Tensor forward_tokens(const at::Tensor& images, const at::Tensor& kept, const DropoutKey& dropout,
                            uint32_t first_layer) const;

  // The feature, as forward(), and the outputs of the `count` patches that the class token looks at most in the last
  // block.
  SelectedTokens forward_selected(const at::Tensor& images, const DropoutKey& dropout, int64_t count) const;
  uint32_t dropout_layers() const { return blocks_->dropout_layers(); }
  std::map<std::string, int64_t> layers_above() const;

 private:
  // [b, 3, H, W] -> [b, patches, 3 * patch * patch]: a patch's pixels in the order of a convolution's weight. With a
  // matrix product instead of at::conv2d the bits do not depend on the number of threads.
  at::Tensor unfold(const at::Tensor& images) const;
  // [b, 1 + patches, width]: class token and patches with their positions.
  at::Tensor embed(const at::Tensor& images) const;
  at::Tensor project(const at::Tensor& outputs) const;

  int64_t height_, width_pixels_, patch_size_;
  std::shared_ptr<Linear> patch_;                    // [width, 3 * patch * patch]
  at::Tensor class_embedding_, position_embedding_;  // [width], [1 + patches, width]
  std::shared_ptr<LayerNorm> pre_norm_;
  std::shared_ptr<Blocks> blocks_;
  std::shared_ptr<LayerNorm> post_norm_;
  at::Tensor projection_;  // [width, joint width]
};

// A causal transformer; the output at the end token, which has the largest id, is the feature.
class TextTower : public torch::nn::Module {
 public:
  TextTower(const ModelConfig& config, Initialiser& initialiser);

  // [b, L] int64 on the CPU, L <= context -> [b, joint width]. Tokens after the batch's last end token cannot reach any
  // feature, so they are not computed. ConfigError: L or an id out of range.
  // Uses dropout layers from first_layer.
  at::Tensor forward(const at::Tensor& tokens, const DropoutKey& dropout, uint32_t first_layer) const;

  struct Outputs {
    at::Tensor feature;  // as forward()
    at::Tensor tokens;   // [b, T, joint width]: of all tokens up to the batch's last end token or, with `padding`, of L
  };
  Outputs forward_tokens(const at::Tensor& tokens, const DropoutKey& dropout, uint32_t first_layer, bool padding) const;

  // The feature, as forward(), and the outputs of the `count` words that the end token looks at most in the last block;
  // of a caption with fewer words all, and with `padding` the first tokens behind its end.
  SelectedTokens forward_selected(const at::Tensor& tokens, const DropoutKey& dropout, uint32_t first_layer,
                                  int64_t count, bool padding) const;
  uint32_t dropout_layers() const { return blocks_->dropout_layers(); }
  const at::Tensor& token_embedding() const { return token_embedding_; }
  std::map<std::string, int64_t> layers_above() const;

 private:
  // The places of the end tokens, and what goes into the blocks.
  struct Embedded {
    at::Tensor places;  // [b] of the end tokens in their captions, on the CPU
    at::Tensor ends;    // [b] in the b * tokens
    at::Tensor x;       // [b, tokens, width]
  };
  Embedded embed(const at::Tensor& tokens, bool padding) const;
  at::Tensor project(const at::Tensor& outputs) const;

  at::Tensor token_embedding_, position_embedding_;  // [vocabulary, width], [context, width]
  std::shared_ptr<Blocks> blocks_;
  std::shared_ptr<LayerNorm> final_norm_;
  at::Tensor projection_;  // [width, joint width]
};

}  // namespace muster
