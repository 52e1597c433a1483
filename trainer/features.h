// What flows between encoders and losses.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/alignment.h"

namespace muster {

// Of a pair whose samples have sets of rows, and how two sets resemble each other.
struct FeatureSets {
  SetSizes sizes;
  Alignment alignment;
};

// One pair of feature matrices, raw (losses normalise): rows of `image` and `text` belong together. Most models have
// one pair, named "global".
struct FeaturePair {
  std::string name;
  at::Tensor image;  // [b, d]; of sets [sum of sizes.image, d]
  at::Tensor text;   // [b, d]; of sets [sum of sizes.text, d]
  std::optional<FeatureSets> sets = std::nullopt;
};

// Where the last part of a model begins that is one over the rows of all ranks, such as batch norm: its backward is
// collective, so it goes first and alone, cut by cut, on every rank; then backward goes on from `before`.
struct FeatureCut {
  at::Tensor feature;  // the image or text of a pair, made of `start`
  at::Tensor start;    // a leaf with the values of `before`; on a rank without rows one without rows
  at::Tensor before;   // of the towers; without a graph where they are frozen or there are no rows
};

struct Features {
  std::vector<FeaturePair> pairs;
  at::Tensor text_tokens;        // [b, T, d], the caption's tokens in the same space; undefined unless asked for
  at::Tensor image_tokens;       // [b, 1 + patches, d], class token and patches likewise
  std::vector<FeatureCut> cuts;  // of live features of all rows, in the same order on every rank
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
