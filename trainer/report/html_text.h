// Foreign text and bytes inside an HTML page.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

// Safe as text and inside a quoted attribute: & < > " ' are escaped; invalid UTF-8 and control characters other than
// newline and tab become U+FFFD.
std::string escape_html(std::string_view text);

// data:image/...;base64,...; empty if the bytes are neither JPEG nor PNG.
std::string image_data_uri(const std::vector<uint8_t>& bytes);

}  // namespace muster
