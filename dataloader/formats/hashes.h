// XXH3 hashes (github.com/Cyan4973/xxHash) of bytes and files: against damage, not against attackers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace muster {

class InputFile;

uint64_t xxh3_64(const void* data, size_t size);
// 32 lower-case hexadecimal digits in the canonical (big-endian) order, as xxhsum -H2 and Python's xxhash print them.
std::string xxh3_128_hex(const void* data, size_t size);
// The same of bytes that come piece by piece.
class StreamHash {
 public:
  StreamHash();
  ~StreamHash();
  StreamHash(const StreamHash&) = delete;
  StreamHash& operator=(const StreamHash&) = delete;

  void update(const void* data, size_t size);
  // Of all that came so far.
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};
// Of the whole file, read in pieces. DataError if it cannot be read.
std::string xxh3_128_hex_of_file(const std::string& path);

// [begin, end) of a file.
struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};
// Of the concatenation of these ranges, read in pieces. DataError if the file ends before one does.
std::string xxh3_128_hex_of_ranges(const InputFile& file, const std::vector<ByteRange>& ranges);

}  // namespace muster
