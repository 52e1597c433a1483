#include "trainer/report/html_text.h"

#include <algorithm>
#include <cstring>

namespace muster {
namespace {

// Bytes of the valid UTF-8 sequence that starts `text`; 0 if there is none (RFC 3629: no overlong forms, no surrogates,
// nothing after U+10FFFF).
size_t sequence_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) > 0x9f)) return 0;
  if ((lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) > 0x8f)) return 0;
  return length;
}

constexpr const char* kReplacement = "\xef\xbf\xbd";

std::string escape_ascii(char c) {
  if (c == '&') return "&amp;";
  if (c == '<') return "&lt;";
  if (c == '>') return "&gt;";
  if (c == '"') return "&quot;";
  if (c == '\'') return "&#39;";
  const bool control = (static_cast<uint8_t>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
  return control ? kReplacement : std::string(1, c);
}

std::string base64(const std::vector<uint8_t>& bytes) {
  constexpr const char* kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t b = 0; b < 3; ++b) word = word << 8 | (b < count ? bytes[i + b] : 0U);
    for (size_t c = 0; c < 4; ++c) text += c <= count ? kAlphabet[word >> (18 - 6 * c) & 63] : '=';
  }
  return text;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string escaped;
  while (!text.empty()) {
    const size_t length = sequence_length(text);
    if (length == 1) {
      escaped += escape_ascii(text[0]);
    } else {
      escaped += length == 0 ? std::string_view(kReplacement) : text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return escaped;
}

std::string image_data_uri(const std::vector<uint8_t>& bytes) {
  const auto starts_with = [&](std::string_view magic) {
    return bytes.size() > magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
  };
  if (starts_with("\xff\xd8\xff")) return "data:image/jpeg;base64," + base64(bytes);
  if (starts_with("\x89PNG\r\n\x1a\n")) return "data:image/png;base64," + base64(bytes);
  return "";
}

}  // namespace muster
