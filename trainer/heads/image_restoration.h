// SEN's text-guided image restoration ("Semantic-enhanced network for text-to-image person retrieval", Neural Networks
// 184, 2025; its public code, commit 3d887c1): colours of hidden patches from a grey rest and the caption.
//
//   Y = 0.2989 R + 0.5870 G + 0.1140 B of the normalised image, in all three channels
//   V = image tower's outputs for the class token and the K seen patches, [1 + K, d];  T = the caption's tokens, [L, d]
//   x = W LN(V) + b, put back in their places; a learned vector in those of hidden patches; plus the table of positions
//   y = MHA(LN(x), LN(T), LN(T)), without residual;  z = blocks(LN(y));  p = U LN(z) + c
//   l = mean squares of p - (the patch's colours in the order row, column, channel), for hidden patches
//
// K = floor((1 + P) (1 - mask_ratio)) - 1 of P patches: those of least noise. Positions are MAE's (He et al., 2022,
// util/pos_embed.py): sines and cosines of the column in the first half of the channels, of the row in the second, 0
// for the class token. Blocks have QuickGELU. First values as IRRA's (github.com/anosorae/IRRA, model/build.py) for
// attention and blocks, PyTorch's for the two linear layers, 0 for the learned vector.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "launch/checks.h"
#include "trainer/encoders/encoders.pb.h"
#include "trainer/heads/head.h"
#include "trainer/heads/heads.pb.h"

namespace muster {

class ImageRestoration : public Head {
 public:
  // [b, 3, H, W] each, normalised as the images are.
  struct Pictures {
    at::Tensor seen;      // what the image tower is given: grey, hidden patches 0
    at::Tensor restored;  // the same with hidden patches as they are restored
  };
  // Arguments as sum()'s. No graph.
  virtual Pictures restore(const Batch& batch, const Features& live, Model& model, uint64_t seed) const = 0;
};

// How many patches are seen, and how many hidden ones are in the loss.
struct RestoredPatches {
  int64_t seen = 0;
  int64_t scored = 0;
};
RestoredPatches restored_patches(const ImageRestorationConfig& config, const ModelConfig& model);

// What is impossible, each naming its field. `model` as given: sizes that are missing are not looked at.
void check_image_restoration(const ImageRestorationConfig& config, const ModelConfig& model, Checks& checks);

// `model`: a resolved config.
std::shared_ptr<ImageRestoration> make_image_restoration(const ImageRestorationConfig& config, const ModelConfig& model,
                                                         uint64_t seed);

}  // namespace muster
