// What flows between encoders and losses.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/alignment.h"

namespace muster {

// One pair of feature matrices, raw (losses normalise): rows of `image` and `text` belong together. Most models have
// one pair, named "global". Of samples that have sets of rows each, regions and words, rows of a sample lie one after
// another, and it is the sets that belong together.
struct FeaturePair {
  std::string name;
  at::Tensor image;                             // [b, d]; of sets [sum of sets.image, d]
  at::Tensor text;                              // [b, d]; of sets [sum of sets.text, d]
  std::optional<SetSizes> sets = std::nullopt;  // [b] each
};

// One side of some samples with sets of rows.
struct SetRows {
  at::Tensor rows;             // [sum of sizes, d], a sample's after another's
  std::vector<int64_t> sizes;  // [b]
};

// Of some samples: a feature of the whole, and one for every region or word.
struct SetOutputs {
  at::Tensor global;  // [b, d]
  SetRows set;
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
