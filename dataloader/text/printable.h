// Texts made by others, as they can be shown.
#pragma once

#include <string>

namespace muster {

// UTF-8 without control characters, which could break a line, move a terminal's cursor or worse: each becomes U+FFFD.
std::string printable(const std::string& text);

// The same, but its line ends stay.
std::string printable_lines(const std::string& text);

}  // namespace muster
