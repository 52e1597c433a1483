// Whether bytes from strangers are text.
#pragma once

#include <string>
#include <string_view>

namespace muster {

// DataError where the text is not UTF-8, naming the byte (from 1). `opening` goes before the message.
void check_utf8(std::string_view text, const std::string& opening);

}  // namespace muster
