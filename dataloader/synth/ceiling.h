// How well a set can be searched at all, and how far one comes without looking: what a trained model's R@1 lies
// between.
#pragma once

#include <cstdint>

#include "dataloader/synth/synth.h"

namespace muster::synth {

// Text-to-image R@1 in percent; an image of the query's identity is right. Of the first kCeilingImages test images.
struct Ceiling {
  double oracle = 0;     // reads captions and knows every picture's attributes
  double histogram = 0;  // knows where which colours are, and no shapes
  double chance = 0;     // a picture taken blindly
  int64_t queries = 0;
  int64_t gallery = 0;
};

constexpr int64_t kCeilingImages = 1000;

// The oracle: each picture is known by kOracleCaptions further captions that the set's writers give of it, so by all
// that they would say of its attributes; a query goes to the picture that makes its words and word pairs most likely
// (naive Bayes over their presence). It cannot be drawn wrong, only told alike.
//
// The histogram: pictures as the square roots of their colours' shares, 4 x 4 x 4 bins in each third from top to
// bottom; captions as the words in them; a ridge regression from words to histograms, fitted on kHistogramImages
// training images; cosine of what a caption predicts and what a picture has.
//
// Both are pure functions of the set.
// ConfigError if the set has no test images.
Ceiling measure_ceiling(const Set& set);

constexpr int kOracleCaptions = 96;
constexpr int64_t kHistogramImages = 2000;

}  // namespace muster::synth
