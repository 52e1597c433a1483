#include "dataloader/text/words.h"

#include <utf8proc.h>

#include "dataloader/text/unicode.h"

namespace muster {
namespace {

enum class Kind { kSpace, kLetter, kNumber, kOther, kNothing };

Kind kind_of(char32_t c) {
  if (c < 0x80) {
    if (c >= 'a' && c <= 'z') return Kind::kLetter;
    if (c >= '0' && c <= '9') return Kind::kNumber;
    if (c >= 'A' && c <= 'Z') return Kind::kLetter;
    return is_white_space(c) ? Kind::kSpace : Kind::kOther;
  }
  // A mark whose upper case is a letter: with IGNORECASE neither the class of letters nor its complement takes it.
  if (c == 0x345) return Kind::kNothing;
  if (is_letter(c)) return Kind::kLetter;
  if (is_number(c)) return Kind::kNumber;
  return is_white_space(c) ? Kind::kSpace : Kind::kOther;
}

struct Character {
  Kind kind;
  size_t bytes;
};

Character character_at(std::string_view text, size_t position) {
  const auto* data = reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + position;
  if (*data < 0x80) return {kind_of(*data), 1};
  utf8proc_int32_t c = 0;
  const utf8proc_ssize_t bytes = utf8proc_iterate(data, static_cast<utf8proc_ssize_t>(text.size() - position), &c);
  return {kind_of(static_cast<char32_t>(c)), static_cast<size_t>(bytes)};
}

// Bytes of `text` that match `literal` without regard to case: in lower-cased text only the long s is left to differ.
size_t match(std::string_view text, std::string_view literal) {
  size_t i = 0;
  for (const char c : literal) {
    if (i < text.size() && text[i] == c) {
      ++i;
    } else if (c == 's' && text.substr(i, 2) == "\xC5\xBF") {
      i += 2;
    } else {
      return 0;
    }
  }
  return i;
}

}  // namespace

size_t WordScanner::literal() const {
  constexpr std::string_view kLiterals[] = {kStartOfText, kEndOfText, "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  for (const std::string_view literal : kLiterals) {
    if (const size_t bytes = match(text_.substr(position_), literal)) return bytes;
  }
  return 0;
}

std::string_view WordScanner::next() {
  while (position_ < text_.size()) {
    const size_t begin = position_;
    const char c = text_[begin];
    const size_t fixed = c == '\'' || c == '<' ? literal() : 0;
    const Character first = character_at(text_, begin);
    position_ += fixed > 0 ? fixed : first.bytes;
    if (fixed == 0 && (first.kind == Kind::kSpace || first.kind == Kind::kNothing)) continue;
    if (fixed == 0 && first.kind != Kind::kNumber) {
      while (position_ < text_.size()) {
        const Character following = character_at(text_, position_);
        if (following.kind != first.kind) break;
        position_ += following.bytes;
      }
    }
    return text_.substr(begin, position_ - begin);
  }
  return {};
}

}  // namespace muster
