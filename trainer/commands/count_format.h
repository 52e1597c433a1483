// How counts, and texts made by others, are printed.
#pragma once

#include <cstdint>
#include <string>

namespace muster {

// 16319 -> "16,319".
std::string with_commas(int64_t count);

// UTF-8 without control characters, which could move a terminal's cursor or worse: each becomes U+FFFD.
std::string printable(const std::string& text);

}  // namespace muster
