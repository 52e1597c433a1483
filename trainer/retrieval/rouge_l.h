// ROUGE-L of captions (Lin, 2004), as pycocoevalcap has it: words are what lies between single spaces, in lower case;
// with P the largest share of a caption's words, and R of a reference's, that are a common subsequence with one of the
// references, (1 + b^2) P R / (R + b^2 P), b = 1.2.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace muster {

// Captions as numbers of their words. For one thread; compare() for many.
class RougeL {
 public:
  // Each image's captions, in order.
  explicit RougeL(const std::vector<std::vector<std::string>>& captions_of_images);

  int64_t images() const { return static_cast<int64_t>(first_caption_.size()) - 1; }
  int64_t captions() const { return static_cast<int64_t>(words_.size()); }

  // Room for compare(), one a thread.
  struct Scratch {
    std::vector<int32_t> slot_of_word;  // of the caption; 0: not among its words
    std::vector<uint64_t> masks;        // of each slot: where in the caption the word stands
    std::vector<uint64_t> state;
  };
  // relevances[image] of all images to a caption; 0 of an image without captions. The longest common subsequence comes
  // a bit a word (Hyyro, 2004).
  void compare(int64_t caption, Scratch& scratch, float* relevances) const;

 private:
  int64_t common(const std::vector<int32_t>& reference, int64_t caption_words, Scratch& scratch) const;

  int32_t vocabulary_ = 0;
  std::vector<std::vector<int32_t>> words_;  // of each caption
  std::vector<int64_t> first_caption_;       // of each image, and the end
};

}  // namespace muster
