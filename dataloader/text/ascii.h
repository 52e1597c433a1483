// Letters and digits of ASCII, whatever the locale; all other bytes are neither.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace muster {

inline bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}

inline char ascii_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}
inline std::string ascii_lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) { return ascii_lower(c); });
  return lower;
}

}  // namespace muster
