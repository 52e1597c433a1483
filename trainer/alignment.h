// How an image's regions and a caption's words become one score (TERAN, Messina et al., ACM TOMM 2021).
//
// a_rw is the cosine of region r and word w. A set's rows belong to one sample; a caption without words scores 0.
#pragma once

#include <cstdint>
#include <vector>

namespace muster {

struct Alignment {
  bool over_regions = true;  // score += sum over words of the best region's cosine (MrSw)
  bool over_words = false;   // score += sum over regions of the best word's cosine (MwSr)
  // The first sum is divided by the caption's words (MrAVGw).
  bool mean_over_words = false;
  // As the published code pads captions with zeros: for captions shorter than the global batch's longest, a region's
  // best cosine is at least 0. Scores then depend on the batch.
  bool floor_at_zero = false;
};

// Numbers of rows of the samples' sets, one sample after another.
struct SetSizes {
  std::vector<int64_t> image;  // regions, 1 or more each
  std::vector<int64_t> text;   // words, 0 or more
};

// Where each set's rows begin among those of all, and the end: [sets + 1].
inline std::vector<int64_t> begins_of(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> begins{0};
  for (const int64_t size : sizes) begins.push_back(begins.back() + size);
  return begins;
}

}  // namespace muster
