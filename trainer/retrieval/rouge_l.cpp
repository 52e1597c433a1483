#include "trainer/retrieval/rouge_l.h"

#include <algorithm>

#include "dataloader/text/unicode.h"

namespace muster {
namespace {

constexpr double kBeta = 1.2;
constexpr int64_t kBits = 64;

int64_t count_ones(uint64_t bits) {
  return __builtin_popcountll(bits);
}

}  // namespace

RougeL::RougeL(const std::vector<std::vector<std::string>>& captions_of_images) {
  std::unordered_map<std::string, int32_t> numbers;
  first_caption_.push_back(0);
  for (const std::vector<std::string>& captions : captions_of_images) {
    for (const std::string& caption : captions) {
      const std::string text = encode_utf8(lower(decode_utf8(caption)));
      std::vector<int32_t> words;
      for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(' ', begin), text.size());
        const auto word = numbers.emplace(text.substr(begin, end - begin), static_cast<int32_t>(numbers.size())).first;
        words.push_back(word->second);
        begin = end + 1;
      }
      words_.push_back(std::move(words));
    }
    first_caption_.push_back(static_cast<int64_t>(words_.size()));
  }
  vocabulary_ = static_cast<int32_t>(numbers.size());
}

// Hyyro's recurrence, with the caption's words as bits: V' = (V + (V & M)) | (V & ~M), V of ones at first; zeros at the
// end are the subsequence.
int64_t RougeL::common(const std::vector<int32_t>& reference, int64_t caption_words, Scratch& scratch) const {
  const int64_t blocks = (caption_words + kBits - 1) / kBits;
  std::vector<uint64_t>& state = scratch.state;
  std::fill_n(state.begin(), blocks, ~uint64_t{0});
  for (const int32_t word : reference) {
    const uint64_t* mask = scratch.masks.data() + scratch.slot_of_word[static_cast<size_t>(word)] * blocks;
    uint64_t carry = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      const uint64_t v = state[static_cast<size_t>(b)], hit = v & mask[b];
      uint64_t sum = 0;
      const bool first = __builtin_add_overflow(v, hit, &sum);
      const bool second = __builtin_add_overflow(sum, carry, &sum);
      carry = first || second ? 1 : 0;
      state[static_cast<size_t>(b)] = sum | (v & ~mask[b]);
    }
  }
  int64_t zeros = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t bits = std::min(kBits, caption_words - b * kBits);
    const uint64_t used = bits == kBits ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
    zeros += count_ones(~state[static_cast<size_t>(b)] & used);
  }
  return zeros;
}

void RougeL::compare(int64_t caption, Scratch& scratch, float* relevances) const {
  const std::vector<int32_t>& own = words_[static_cast<size_t>(caption)];
  const auto count = static_cast<int64_t>(own.size());
  const int64_t blocks = (count + kBits - 1) / kBits;
  scratch.slot_of_word.resize(static_cast<size_t>(vocabulary_), 0);
  scratch.masks.assign(static_cast<size_t>(blocks), 0);
  scratch.state.resize(static_cast<size_t>(blocks));
  for (int64_t i = 0; i < count; ++i) {
    int32_t& slot = scratch.slot_of_word[static_cast<size_t>(own[static_cast<size_t>(i)])];
    if (slot == 0) {
      slot = static_cast<int32_t>(static_cast<int64_t>(scratch.masks.size()) / blocks);
      scratch.masks.resize(scratch.masks.size() + static_cast<size_t>(blocks), 0);
    }
    scratch.masks[static_cast<size_t>(slot * blocks + i / kBits)] |= uint64_t{1} << (i % kBits);
  }
  for (int64_t image = 0; image < images(); ++image) {
    double precision = 0, recall = 0;
    for (int64_t other = first_caption_[static_cast<size_t>(image)];
         other < first_caption_[static_cast<size_t>(image) + 1]; ++other) {
      const std::vector<int32_t>& reference = words_[static_cast<size_t>(other)];
      const auto shared = static_cast<double>(common(reference, count, scratch));
      precision = std::max(precision, shared / static_cast<double>(count));
      recall = std::max(recall, shared / static_cast<double>(reference.size()));
    }
    const double divisor = recall + kBeta * kBeta * precision;
    relevances[image] = divisor > 0 ? static_cast<float>((1 + kBeta * kBeta) * precision * recall / divisor) : 0.0F;
  }
  for (const int32_t word : own) scratch.slot_of_word[static_cast<size_t>(word)] = 0;
}

}  // namespace muster
