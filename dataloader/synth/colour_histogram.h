// The baseline of ceiling.h: from the words of a caption to where which colours are, and no shapes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/synth/caption_words.h"
#include "dataloader/synth/synth.h"

namespace muster::synth {

class ColourHistogram {
 public:
  // Fits on the pictures and captions of `training` (the set's image numbers), at least one; scores `gallery`.
  ColourHistogram(const Set& set, const std::vector<int64_t>& training, const std::vector<StoreRecord>& gallery);

  // Cosine of what the caption predicts with each picture of the gallery.
  std::vector<double> score(const std::string& caption);

 private:
  CaptionWords words_;
  at::Tensor weights_;  // [words, bins]
  at::Tensor mean_;     // [bins]
  at::Tensor gallery_;  // [images, bins] centred, unit rows
};

}  // namespace muster::synth
