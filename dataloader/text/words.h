// CLIP's cut of a cleaned caption into words.
#pragma once

#include <cstddef>
#include <string_view>

namespace muster {

constexpr std::string_view kStartOfText = "<start_of_text>";
constexpr std::string_view kEndOfText = "<end_of_text>";

// Finds, one after the other, the matches of
//   <start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+      (IGNORECASE)
// as Python's `regex` module does, in lower-cased valid UTF-8 which must outlive the scanner.
class WordScanner {
 public:
  explicit WordScanner(std::string_view text) : text_(text) {}

  // Empty at the end.
  std::string_view next();

 private:
  // Bytes of the literal that matches at position_, 0 if none does.
  size_t literal() const;

  std::string_view text_;
  size_t position_ = 0;
};

}  // namespace muster
