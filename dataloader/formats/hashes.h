// XXH3 hashes (github.com/Cyan4973/xxHash) of bytes and files: against damage, not against attackers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace muster {

uint64_t xxh3_64(const void* data, size_t size);
std::string xxh3_128_hex(const void* data, size_t size);
// Of the whole file, read in pieces. DataError if it cannot be read.
std::string xxh3_128_hex_of_file(const std::string& path);

}  // namespace muster
