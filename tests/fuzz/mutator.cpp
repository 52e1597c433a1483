#include "tests/fuzz/mutator.h"

#include <algorithm>
#include <array>

namespace muster::fuzz {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr size_t kMaxChanges = 16;
constexpr std::array<unsigned char, 12> kBytes = {0, 1, 0x7F, 0x80, 0xFF, 0xC0, 0xEF, '"', '\\', '\n', ' ', '0'};
constexpr std::array<const char*, 12> kNumbers = {"0",
                                                  "-1",
                                                  "2147483648",
                                                  "4294967296",
                                                  "9223372036854775807",
                                                  "9223372036854775808",
                                                  "18446744073709551615",
                                                  "18446744073709551616",
                                                  "1e308",
                                                  "1e999",
                                                  "nan",
                                                  "00000000000"};

}  // namespace

std::string Mutator::make(uint64_t seed, uint64_t run) {
  if (run < seeds_.size()) return seeds_[run];
  std::seed_seq sequence{seed, seed >> 32U, run, run >> 32U};
  random_.seed(sequence);
  std::string input = seeds_[below(seeds_.size())];
  const size_t changes = 1 + below(below(2) == 0 ? 3 : kMaxChanges);
  for (size_t i = 0; i < changes; ++i) change(input);
  input.resize(std::min(input.size(), kMaxBytes));
  return input;
}

void Mutator::change(std::string& input) {
  const size_t at = below(input.size() + 1);
  const size_t length = below(1 + std::min<size_t>(input.size() - at, below(2) == 0 ? 8 : 4096));
  switch (below(10)) {
    case 0:
      if (at < input.size()) input[at] = static_cast<char>(static_cast<unsigned char>(input[at]) ^ (1U << below(8)));
      break;
    case 1:
      if (at < input.size()) input[at] = static_cast<char>(kBytes[below(kBytes.size())]);
      break;
    case 2:
      input.insert(at, 1 + below(8), static_cast<char>(below(256)));
      break;
    case 3:
      input.erase(at, length);
      break;
    case 4:
      input.insert(below(input.size() + 1), input.substr(at, length));
      break;
    case 5: {
      const std::string& other = seeds_[below(seeds_.size())];
      const size_t from = below(other.size());
      input.replace(at, length, other, from, 1 + below(other.size()));
      break;
    }
    case 6:
      if (below(4) == 0) input.resize(at);
      break;
    case 7:
      if (!words_.empty()) input.insert(at, words_[below(words_.size())]);
      break;
    case 8:
      if (!words_.empty()) {
        const std::string& word = words_[below(words_.size())];
        input.replace(at, word.size(), word);
      }
      break;
    default:
      replace_number(input);
  }
}

void Mutator::replace_number(std::string& input) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto first =
      std::find_if(input.begin() + static_cast<std::ptrdiff_t>(below(input.size())), input.end(), is_digit);
  const auto last = std::find_if_not(first, input.end(), is_digit);
  const auto at = static_cast<size_t>(first - input.begin());
  input.replace(at, static_cast<size_t>(last - first), kNumbers[below(kNumbers.size())]);
}

}  // namespace muster::fuzz
