// The words of captions as numbers, for the measures of ceiling.h.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

namespace muster::synth {

// Numbers words, and pairs of neighbouring words, from 0 on in the order they are met.
class CaptionWords {
 public:
  // Distinct and ascending. Letter case and punctuation do not count. Unknown ones get the next number if `grow`,
  // otherwise they are left out.
  std::vector<int> of(const std::string& caption, bool pairs, bool grow = true);
  int count() const { return static_cast<int>(numbers_.size()); }

 private:
  std::unordered_map<std::string, int> numbers_;
};

}  // namespace muster::synth
