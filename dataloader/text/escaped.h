// Text made by others, for a line that people read.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace muster {

// One line in which every character is seen: \n, \r, \t; what else shows nothing (but a plain space) as \x1B or
// \u{200B}; bytes that are no UTF-8 as \xFF. More than `most` characters are cut off, with "..." in their place.
std::string escaped(std::string_view text, size_t most = 200);

}  // namespace muster
