// What flows between encoders and losses.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace muster {

// One pair of feature matrices, raw (losses normalise): rows of `image` and `text` belong together. Most models have
// one pair, named "global".
struct FeaturePair {
  std::string name;
  at::Tensor image;  // [b, d]
  at::Tensor text;   // [b, d]
};

struct Features {
  std::vector<FeaturePair> pairs;
  at::Tensor text_tokens;   // [b, T, d], the caption's tokens in the same space; undefined unless asked for
  at::Tensor image_tokens;  // [b, 1 + patches, d], class token and patches likewise
};

// What a forward pass is to give beside the pairs.
struct TokenRequest {
  bool text = false;     // Features::text_tokens, T reaching to the batch's last end token
  bool padding = false;  // T is the batch's L
  bool image = false;    // Features::image_tokens
};

// All [b], CPU.
struct Labels {
  at::Tensor identity;  // int64
  at::Tensor image_id;  // int64
  at::Tensor position;  // int64, in the global sample stream
  // float32 or float64, finite, 0 or more: how much the sample counts as an anchor of the losses (losses.proto).
  // Undefined on every rank: 1.
  at::Tensor weight;
};

// How far training is: for ramps and warm-ups.
struct Progress {
  int64_t step = 0;
  double epoch = 0;
};

}  // namespace muster
