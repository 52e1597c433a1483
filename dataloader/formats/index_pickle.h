// A pickle of one dict from whole numbers to whole numbers, as bottom-up-attention-vqa's {image id: row} is
// (docs.python.org/3/library/pickletools.html; Python 2's protocol 0 to protocol 5). It is read as data: an opcode that
// such a dict does not need, so each that looks up or calls something, is refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace muster {

// The items in the file's order; a key may be there twice. They take a few times the memory of `bytes`, whose
// number the caller caps. DataError, opening with `where`: anything else, numbers beyond 64 bits, cut off.
std::vector<std::pair<int64_t, int64_t>> parse_index_pickle(std::string_view bytes, const std::string& where);

}  // namespace muster
