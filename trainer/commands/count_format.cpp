#include "trainer/commands/count_format.h"

namespace muster {

std::string with_commas(int64_t count) {
  std::string text = std::to_string(count);
  const size_t first = count < 0 ? 1 : 0;
  for (size_t at = text.size(); at > first + 3; at -= 3) text.insert(at - 3, 1, ',');
  return text;
}

std::string printable(const std::string& text) {
  std::string clean;
  for (size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const bool c1 = byte == 0xC2 && at + 1 < text.size() && static_cast<unsigned char>(text[at + 1]) < 0xA0;
    if (byte < 0x20 || byte == 0x7F || c1) {
      clean += "\xEF\xBF\xBD";
      at += c1 ? 1 : 0;
    } else {
      clean += text[at];
    }
  }
  return clean;
}

}  // namespace muster
