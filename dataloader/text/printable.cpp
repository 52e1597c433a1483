#include "dataloader/text/printable.h"

namespace muster {
namespace {

std::string without_controls(const std::string& text, bool keep_lines) {
  std::string clean;
  for (size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const bool c1 = byte == 0xC2 && at + 1 < text.size() && static_cast<unsigned char>(text[at + 1]) < 0xA0;
    if ((byte < 0x20 && !(keep_lines && byte == '\n')) || byte == 0x7F || c1) {
      clean += "\xEF\xBF\xBD";
      at += c1 ? 1 : 0;
    } else {
      clean += text[at];
    }
  }
  return clean;
}

}  // namespace

std::string printable(const std::string& text) {
  return without_controls(text, false);
}

std::string printable_lines(const std::string& text) {
  return without_controls(text, true);
}

}  // namespace muster
