#include "dataloader/formats/utf8.h"

#include <utf8proc.h>

#include "launch/error.h"

namespace muster {

void check_utf8(std::string_view text, const std::string& opening) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t code = 0;
    const utf8proc_ssize_t count = utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    if (count <= 0) {
      throw DataError(opening + "not UTF-8 (byte " + std::to_string(at + 1) +
                      "); convert the file, for example with iconv");
    }
    at += static_cast<size_t>(count);
  }
}

}  // namespace muster
