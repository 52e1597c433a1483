#include "dataloader/text/escaped.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include "dataloader/text/unicode.h"

namespace muster {
namespace {

std::string escape_of(char32_t c) {
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  const auto code = static_cast<uint32_t>(c);
  return c < 0x80 ? fmt::format("\\x{:02X}", code) : fmt::format("\\u{{{:04X}}}", code);
}

}  // namespace

std::string escaped(std::string_view text, size_t most) {
  std::string line;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t at = 0, characters = 0; at < text.size(); ++characters) {
    if (characters == most) return line + "...";
    utf8proc_int32_t code = 0;
    const utf8proc_ssize_t count = utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    if (count <= 0) {
      line += fmt::format("\\x{:02X}", bytes[at++]);
      continue;
    }
    const auto c = static_cast<char32_t>(code);
    line += c != ' ' && is_invisible(c) ? escape_of(c) : std::string(text.substr(at, static_cast<size_t>(count)));
    at += static_cast<size_t>(count);
  }
  return line;
}

}  // namespace muster
