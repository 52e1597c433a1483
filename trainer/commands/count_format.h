// How counts are printed.
#pragma once

#include <cstdint>
#include <string>

namespace muster {

// 16319 -> "16,319".
std::string with_commas(int64_t count);

}  // namespace muster
