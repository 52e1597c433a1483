#include "dataloader/text/byte_pairs.h"

#include <zlib.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "dataloader/text/unicode.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kTableSize = size_t{1} << 17;
constexpr size_t kMaxFileSize = size_t{64} << 20;
constexpr std::string_view kWordEnd = "</w>";

std::string read_plain_or_gzip(const std::string& path) {
  const std::unique_ptr<gzFile_s, decltype(&gzclose)> file(gzopen(path.c_str(), "rb"), &gzclose);
  if (!file) throw DataError(path + ": cannot be read: name CLIP's bpe_simple_vocab_16e6.txt.gz with tokenizer.merges");
  std::string text;
  char buffer[1 << 16];
  int size = 0;
  while ((size = gzread(file.get(), buffer, sizeof buffer)) > 0) {
    text.append(buffer, static_cast<size_t>(size));
    if (text.size() > kMaxFileSize) throw DataError(path + ": too large for a file of merges");
  }
  int code = Z_OK;
  gzerror(file.get(), &code);
  if (size < 0 || code != Z_OK) throw DataError(path + ": damaged or truncated gzip data: fetch it again");
  return text;
}

// CLIP writes bytes as printable characters: these bytes stand for themselves, the others follow from U+0100.
bool is_printable_byte(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

struct ByteNames {
  std::vector<std::string> names;          // in the order of the vocabulary
  std::vector<int> bytes;                  // the same order
  int byte_of_character[0x100 + 0x100]{};  // code point -> byte
};

ByteNames byte_names() {
  ByteNames result;
  int unprintable = 0;
  for (const bool printable : {true, false}) {
    for (int byte = 0; byte < 256; ++byte) {
      if (is_printable_byte(byte) != printable) continue;
      const int character = printable ? byte : 0x100 + unprintable++;
      std::string name;
      append_utf8(static_cast<char32_t>(character), name);
      result.names.push_back(name);
      result.bytes.push_back(byte);
      result.byte_of_character[character] = byte;
    }
  }
  return result;
}

// The two symbols of each of the first kMerges lines after the heading.
std::vector<std::pair<std::string, std::string>> parse_merges(const std::string& path) {
  const std::string text = read_plain_or_gzip(path);
  std::vector<std::pair<std::string, std::string>> pairs;
  size_t begin = text.find('\n');
  while (begin != std::string::npos && pairs.size() < static_cast<size_t>(BytePairs::kMerges)) {
    if (++begin == text.size()) break;
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin - (end > begin && text[end - 1] == '\r' ? 1 : 0));
    const size_t space = line.find(' ');
    if (space == std::string::npos || space == 0 || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string::npos) {
      throw DataError(path + ":" + std::to_string(pairs.size() + 2) +
                      ": not two symbols separated by a space; CLIP's merges are " +
                      std::to_string(BytePairs::kMerges) + " such lines after a heading");
    }
    pairs.emplace_back(line.substr(0, space), line.substr(space + 1));
    begin = end == text.size() ? std::string::npos : end;
  }
  if (pairs.size() < static_cast<size_t>(BytePairs::kMerges)) {
    throw DataError(path + ": has " + std::to_string(pairs.size()) + " merges, CLIP's vocabulary needs " +
                    std::to_string(BytePairs::kMerges));
  }
  return pairs;
}

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(left) << 32) | static_cast<uint32_t>(right);
}

size_t slot_of(uint64_t pair) {
  return static_cast<size_t>((pair * 0x9E3779B97F4A7C15ull) >> 47);
}

}  // namespace

BytePairs::BytePairs(const std::string& path) : merges_(kTableSize) {
  const auto pairs = parse_merges(path);
  const ByteNames bytes = byte_names();
  std::vector<std::string> vocabulary = bytes.names;
  for (const std::string& name : bytes.names) vocabulary.push_back(name + std::string(kWordEnd));
  for (const auto& [left, right] : pairs) vocabulary.push_back(left + right);

  // A string that two merges make has the later id, as in a Python dict.
  std::unordered_map<std::string_view, int32_t> ids(2 * vocabulary.size());
  for (size_t i = 0; i < vocabulary.size(); ++i) ids[vocabulary[i]] = static_cast<int32_t>(i);
  for (size_t i = 0; i < 256; ++i) byte_symbols_[bytes.bytes[i]] = ids[vocabulary[i]];
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto left = ids.find(pairs[i].first);
    const auto right = ids.find(pairs[i].second);
    if (left == ids.end() || right == ids.end()) {
      throw DataError(path + ":" + std::to_string(i + 2) + ": merges a symbol that no line makes");
    }
    add_merge(left->second, right->second, static_cast<int32_t>(i), ids[vocabulary[512 + i]]);
  }
  remember_bytes(vocabulary);
  remember_whole_words(vocabulary);
}

void BytePairs::remember_bytes(const std::vector<std::string>& vocabulary) {
  const ByteNames bytes = byte_names();
  for (std::string_view name : vocabulary) {
    const bool ends_word = name.size() > kWordEnd.size() && name.substr(name.size() - kWordEnd.size()) == kWordEnd;
    if (ends_word) name.remove_suffix(kWordEnd.size());
    std::string& text = bytes_.emplace_back();
    for (const char32_t c : decode_utf8(name)) text.push_back(static_cast<char>(bytes.byte_of_character[c]));
    if (ends_word) text.push_back(' ');
  }
}

void BytePairs::add_merge(int32_t left, int32_t right, int32_t rank, int32_t symbol) {
  const uint64_t pair = pair_key(left, right);
  size_t slot = slot_of(pair);
  while (merges_[slot].pair != ~uint64_t{0} && merges_[slot].pair != pair) slot = (slot + 1) % kTableSize;
  merges_[slot] = {pair, rank, symbol};
}

const BytePairs::Merge* BytePairs::find_merge(int32_t left, int32_t right) const {
  const uint64_t pair = pair_key(left, right);
  for (size_t slot = slot_of(pair);; slot = (slot + 1) % kTableSize) {
    if (merges_[slot].pair == pair) return &merges_[slot];
    if (merges_[slot].pair == ~uint64_t{0}) return nullptr;
  }
}

void BytePairs::remember_whole_words(const std::vector<std::string>& vocabulary) {
  const ByteNames bytes = byte_names();
  std::vector<std::pair<size_t, size_t>> places;
  for (const std::string& name : vocabulary) {
    if (name.size() <= kWordEnd.size() || name.compare(name.size() - kWordEnd.size(), kWordEnd.size(), kWordEnd) != 0)
      continue;
    const size_t begin = words_.size();
    for (const char32_t c : decode_utf8(std::string_view(name).substr(0, name.size() - kWordEnd.size()))) {
      words_.push_back(static_cast<char>(bytes.byte_of_character[c]));
    }
    places.emplace_back(begin, words_.size() - begin);
  }
  Workspace workspace;
  std::vector<int64_t> ids;
  std::unordered_map<std::string_view, int32_t> found(2 * places.size());
  for (const auto& [begin, size] : places) {
    const std::string_view word = std::string_view(words_).substr(begin, size);
    ids.clear();
    merge_word(word, workspace, ids);
    if (ids.size() == 1) found.emplace(word, static_cast<int32_t>(ids[0]));
  }
  whole_words_ = std::move(found);
}

void BytePairs::encode(std::string_view word, Workspace& workspace, std::vector<int64_t>& ids) const {
  const auto found = whole_words_.find(word);
  if (found != whole_words_.end()) {
    ids.push_back(found->second);
  } else {
    merge_word(word, workspace, ids);
  }
}

void BytePairs::note_pair(int32_t place, Workspace& w, std::vector<std::pair<int32_t, int32_t>>& queue) const {
  const int32_t right = place < 0 ? -1 : w.next[static_cast<size_t>(place)];
  if (right < 0) return;
  const Merge* merge = find_merge(w.symbols[static_cast<size_t>(place)], w.symbols[static_cast<size_t>(right)]);
  if (merge != nullptr) queue.emplace_back(merge->rank, place);
}

// The original merges every occurrence of the best pair from left to right, then looks again. So all queued places of
// the best rank are merged before the pairs that they make are queued.
void BytePairs::merge_word(std::string_view word, Workspace& w, std::vector<int64_t>& ids) const {
  const size_t n = word.size();
  w.symbols.resize(n);
  w.next.resize(n);
  w.previous.resize(n);
  w.queue.clear();
  for (size_t i = 0; i < n; ++i) {
    w.symbols[i] = byte_symbols_[static_cast<unsigned char>(word[i])] + (i + 1 == n ? 256 : 0);
    w.next[i] = i + 1 == n ? -1 : static_cast<int32_t>(i + 1);
    w.previous[i] = static_cast<int32_t>(i) - 1;
  }
  for (size_t i = 0; i < n; ++i) note_pair(static_cast<int32_t>(i), w, w.queue);
  const auto later = std::greater<std::pair<int32_t, int32_t>>();
  std::make_heap(w.queue.begin(), w.queue.end(), later);
  while (!w.queue.empty()) {
    const int32_t rank = w.queue.front().first;
    w.made.clear();
    while (!w.queue.empty() && w.queue.front().first == rank) {
      const size_t place = static_cast<size_t>(w.queue.front().second);
      std::pop_heap(w.queue.begin(), w.queue.end(), later);
      w.queue.pop_back();
      const int32_t right = w.next[place];
      if (w.symbols[place] < 0 || right < 0) continue;
      const Merge* merge = find_merge(w.symbols[place], w.symbols[static_cast<size_t>(right)]);
      if (merge == nullptr || merge->rank != rank) continue;  // a neighbour was merged since
      w.symbols[place] = merge->symbol;
      w.symbols[static_cast<size_t>(right)] = -1;
      const int32_t after = w.next[static_cast<size_t>(right)];
      w.next[place] = after;
      if (after >= 0) w.previous[static_cast<size_t>(after)] = static_cast<int32_t>(place);
      w.made.emplace_back(w.previous[place], static_cast<int32_t>(place));
    }
    for (const auto& [left, place] : w.made) {
      for (const int32_t changed : {left, place}) {
        const size_t before = w.queue.size();
        note_pair(changed, w, w.queue);
        if (w.queue.size() > before) std::push_heap(w.queue.begin(), w.queue.end(), later);
      }
    }
  }
  for (int32_t i = 0; i >= 0; i = w.next[static_cast<size_t>(i)]) ids.push_back(w.symbols[static_cast<size_t>(i)]);
}

}  // namespace muster
