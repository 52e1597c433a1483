#include "dataloader/synth/caption_words.h"

#include <algorithm>
#include <cctype>

namespace muster::synth {
namespace {

std::vector<std::string> split_words(const std::string& caption) {
  std::vector<std::string> words(1);
  for (const char c : caption) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '-') {
      words.back() += static_cast<char>(std::tolower(byte));
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

}  // namespace

std::vector<int> CaptionWords::of(const std::string& caption, bool pairs, bool grow) {
  std::vector<int> found;
  const auto add = [&](const std::string& feature) {
    if (grow) numbers_.emplace(feature, count());
    const auto known = numbers_.find(feature);
    if (known != numbers_.end()) found.push_back(known->second);
  };
  const std::vector<std::string> words = split_words(caption);
  for (size_t i = 0; i < words.size(); ++i) {
    add(words[i]);
    if (pairs && i > 0) add(words[i - 1] + " " + words[i]);
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace muster::synth
