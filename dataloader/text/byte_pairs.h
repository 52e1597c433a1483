// Byte-pair encoding of words with CLIP's vocabulary (Sennrich et al., 2016; github.com/openai/CLIP,
// simple_tokenizer.py).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace muster {

// Ids: 256 bytes (in the order of CLIP's printable stand-ins), the same as last byte of a word, one per merge, then the
// start and end tokens. Immutable once made: safe from any number of threads.
class BytePairs {
 public:
  static constexpr int64_t kMerges = 48894;
  static constexpr int64_t kStart = 512 + kMerges;
  static constexpr int64_t kEnd = kStart + 1;
  static constexpr int64_t kVocabulary = kEnd + 1;

  // Reads the merges from a plain or gzip file: a heading, then one pair a line; lines beyond kMerges are left unused.
  // DataError naming the file and line: missing, damaged, fewer merges, a symbol that no earlier line makes.
  explicit BytePairs(const std::string& path);

  // What an id below kStart stands for, followed by a space if it ends a word.
  const std::string& bytes_of(int64_t id) const { return bytes_[static_cast<size_t>(id)]; }

  // Room to work in, to be used for one word after another by one thread.
  struct Workspace {
    std::vector<int32_t> symbols;
    std::vector<int32_t> next, previous;
    std::vector<std::pair<int32_t, int32_t>> queue, made;  // (rank, place)
  };

  // Appends the ids of one word (UTF-8 bytes, not empty) to `ids`. O(n log n).
  void encode(std::string_view word, Workspace& workspace, std::vector<int64_t>& ids) const;

 private:
  struct Merge {
    uint64_t pair = ~uint64_t{0};
    int32_t rank = 0;
    int32_t symbol = 0;
  };

  void add_merge(int32_t left, int32_t right, int32_t rank, int32_t symbol);
  // Null if the pair is never merged.
  const Merge* find_merge(int32_t left, int32_t right) const;
  void merge_word(std::string_view word, Workspace& workspace, std::vector<int64_t>& ids) const;
  void note_pair(int32_t place, Workspace& workspace, std::vector<std::pair<int32_t, int32_t>>& queue) const;
  void remember_bytes(const std::vector<std::string>& vocabulary);
  void remember_whole_words(const std::vector<std::string>& vocabulary);

  std::vector<Merge> merges_;  // open addressing, a power of two
  int32_t byte_symbols_[256];
  std::vector<std::string> bytes_;
  // Words that are one symbol, which most words are; the views point into words_.
  std::string words_;
  std::unordered_map<std::string_view, int32_t> whole_words_;
};

}  // namespace muster
