// An image and a caption as a model of regions and words sees them (trainer/alignment.h): which region each word finds.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace muster {

struct ExplainedWord {
  std::string text;              // of a word piece
  bool continues = false;        // the word of the piece before it
  std::vector<double> cosines;   // with each region
  int64_t chosen_by = 0;         // regions whose best word it is
  double chosen_by_cosines = 0;  // their sum
};

struct ExplainedPair {
  std::string caption;
  std::string image;             // its path in the imported set
  std::string identity;          // of the image
  std::vector<uint8_t> picture;  // JPEG or PNG bytes at any scale; anything else: there is only a frame
  int32_t width = 1, height = 1;
  std::vector<std::array<float, 4>> boxes;  // of each region: x1, y1, x2, y2 in pixels of width x height
  std::vector<ExplainedWord> words;
  std::string left_out;        // the caption's last piece, where that is no word (model.regions.drop_last_word)
  double score = 0;            // how well the two are aligned
  std::string score_rule;      // what it is the sum of, in words
  bool words_count = true;     // the words' choices are part of the score
  bool regions_count = false;  // the regions' choices of a word are
};

// The word's best regions, best first, ties to the lower number; `most` of them or all there are.
std::vector<int64_t> best_regions(const std::vector<double>& cosines, int64_t most);

// The largest of the word's cosines; 0 without regions.
double best_cosine(const ExplainedWord& word);

}  // namespace muster
