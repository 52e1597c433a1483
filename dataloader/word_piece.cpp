#include "dataloader/word_piece.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "dataloader/text/escaped.h"
#include "dataloader/text/unicode.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kMaxFileSize = size_t{16} << 20;
constexpr size_t kMaxWord = 100;  // characters; longer words are unknown
constexpr std::string_view kRest = "##";

std::string read_vocabulary(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw DataError(path + ": cannot be read: name BERT's vocab.txt with tokenizer.vocabulary");
  std::string text(kMaxFileSize + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) throw DataError(path + ": cannot be read");
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxFileSize) throw DataError(path + ": too large for a file of word pieces");
  return text;
}

bool is_ascii_punctuation(char32_t c) {
  return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
}

bool is_cjk(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B820 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= 0x20 && c < 0x7F) || c == '\t' || c == '\n'; });
}

// Lower case, punctuation between blanks.
std::string clean_plain(std::string_view caption) {
  std::string text;
  text.reserve(caption.size() + 16);
  for (const char c : caption) {
    if (is_ascii_punctuation(static_cast<unsigned char>(c))) {
      text += {' ', c, ' '};
    } else if (c == '\t' || c == '\n') {
      text += ' ';
    } else {
      text += c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    }
  }
  return text;
}

CodePoints without_controls(const CodePoints& caption) {
  CodePoints text;
  for (const char32_t c : caption) {
    if (c == U'\t' || c == U'\n' || c == U'\r' || is_space_separator(c)) {
      text += U' ';
    } else if (c != 0 && c != 0xFFFD && !is_control(c)) {
      text += c;
    }
  }
  return text;
}

CodePoints apart(const CodePoints& text, bool (*alone)(char32_t)) {
  CodePoints spaced;
  for (const char32_t c : text) {
    if (alone(c)) {
      spaced += {U' ', c, U' '};
    } else {
      spaced += c;
    }
  }
  return spaced;
}

std::string clean(std::string_view caption) {
  CodePoints text = normalize_nfc(apart(without_controls(decode_utf8(caption)), is_cjk));
  std::replace_if(text.begin(), text.end(), is_python_space, U' ');
  // transformers and its Rust twin lower one character after the other: no sigma is a final one.
  std::replace(text.begin(), text.end(), U'\u03A3', U'\u03C3');
  text = normalize_nfd(lower(text));
  text.erase(std::remove_if(text.begin(), text.end(), is_nonspacing_mark), text.end());
  text = apart(text, [](char32_t c) { return is_ascii_punctuation(c) || is_punctuation(c); });
  std::replace_if(text.begin(), text.end(), is_python_space, U' ');
  return encode_utf8(text);
}

bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

size_t characters(std::string_view word) {
  return word.size() - static_cast<size_t>(std::count_if(word.begin(), word.end(), continues_character));
}

}  // namespace

WordPiece::WordPiece(const std::string& vocabulary_path) : text_(read_vocabulary(vocabulary_path)) {
  const std::string_view text = text_;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view piece = text.substr(begin, end - begin);
    while (!piece.empty() && piece.back() == '\r') piece.remove_suffix(1);
    const bool rest = piece.size() > kRest.size() && piece.substr(0, kRest.size()) == kRest;
    const auto id = static_cast<int64_t>(pieces_.size());
    const auto entry = rest ? rests_.emplace(piece.substr(kRest.size()), id) : starts_.emplace(piece, id);
    if (!entry.second) {
      throw DataError(fmt::format("{}:{}: the piece {} stands in line {} too; a piece has one id", vocabulary_path,
                                  id + 1, escaped(piece), entry.first->second + 1));
    }
    pieces_.push_back(piece);
    begin = end + 1;
  }
  if (special("[PAD]", vocabulary_path) != 0) {
    throw DataError(vocabulary_path + ": [PAD] is not in the first line; captions are filled up with id 0");
  }
  unknown_ = special("[UNK]", vocabulary_path);
  start_ = special("[CLS]", vocabulary_path);
  end_ = special("[SEP]", vocabulary_path);
  mask_ = special("[MASK]", vocabulary_path);
  first_word_ = std::max({unknown_, start_, end_, mask_}) + 1;
  while (first_word_ < vocabulary() && pieces_[static_cast<size_t>(first_word_)].substr(0, 7) == "[unused")
    ++first_word_;
  if (first_word_ == vocabulary()) throw DataError(vocabulary_path + ": no piece behind the special ones");
}

int64_t WordPiece::special(std::string_view piece, const std::string& path) const {
  const auto found = starts_.find(piece);
  if (found == starts_.end()) throw DataError(fmt::format("{}: has no {}; name BERT's vocab.txt", path, piece));
  return found->second;
}

void WordPiece::append_pieces(std::string_view word, std::vector<int64_t>& ids) const {
  const size_t before = ids.size();
  if (word.size() > kMaxWord && characters(word) > kMaxWord) return ids.push_back(unknown_);
  for (size_t begin = 0; begin < word.size();) {
    const Pieces& pieces = begin == 0 ? starts_ : rests_;
    size_t end = word.size();
    auto found = pieces.find(word.substr(begin, end - begin));
    while (found == pieces.end() && --end > begin) {
      if (!continues_character(word[end])) found = pieces.find(word.substr(begin, end - begin));
    }
    if (found == pieces.end()) {
      ids.resize(before);
      return ids.push_back(unknown_);
    }
    ids.push_back(found->second);
    begin = end;
  }
}

void WordPiece::encode(std::string_view caption, int64_t* ids, int64_t context) const {
  if (context < 2) throw std::logic_error("WordPiece::encode: a context below 2 cannot hold the start and end tokens");
  const std::string text = is_plain(caption) ? clean_plain(caption) : clean(caption);
  const size_t room = static_cast<size_t>(context) - 2;
  std::vector<int64_t> found;
  for (size_t begin = 0; begin < text.size() && found.size() < room;) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    if (end > begin) append_pieces(std::string_view(text).substr(begin, end - begin), found);
    begin = end + 1;
  }
  const size_t kept = std::min(found.size(), room);
  ids[0] = start_;
  std::copy_n(found.begin(), kept, ids + 1);
  ids[kept + 1] = end_;
  std::fill(ids + kept + 2, ids + context, 0);
}

std::string WordPiece::decode(const int64_t* ids, int64_t context) const {
  std::string text;
  for (int64_t i = 0; i < context && ids[i] != end_; ++i) {
    if (ids[i] == start_) continue;
    const std::string_view piece = pieces_.at(static_cast<size_t>(ids[i]));
    const bool rest = ids[i] != mask_ && piece.size() > kRest.size() && piece.substr(0, kRest.size()) == kRest;
    if (!rest && !text.empty()) text += ' ';
    text += rest ? piece.substr(kRest.size()) : piece;
  }
  return text;
}

}  // namespace muster
