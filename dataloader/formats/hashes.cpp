#include "dataloader/formats/hashes.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "dataloader/formats/file.h"

namespace muster {
namespace {

std::string to_hex(XXH128_hash_t hash) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text;
}

}  // namespace

struct StreamHash::State {
  XXH3_state_t xxh3;
};

StreamHash::StreamHash() : state_(std::make_unique<State>()) {
  XXH3_128bits_reset(&state_->xxh3);
}

StreamHash::~StreamHash() = default;

void StreamHash::update(const void* data, size_t size) {
  if (size > 0) XXH3_128bits_update(&state_->xxh3, data, size);
}

std::string StreamHash::hex() const {
  return to_hex(XXH3_128bits_digest(&state_->xxh3));
}

uint64_t xxh3_64(const void* data, size_t size) {
  return XXH3_64bits(data, size);
}

std::string xxh3_128_hex(const void* data, size_t size) {
  return to_hex(XXH3_128bits(data, size));
}

std::string xxh3_128_hex_of_file(const std::string& path) {
  const InputFile file(path);
  return xxh3_128_hex_of_ranges(file, {{0, file.size()}});
}

std::string xxh3_128_hex_of_ranges(const InputFile& file, const std::vector<ByteRange>& ranges) {
  StreamHash hash;
  std::vector<char> piece(size_t{1} << 20);
  for (const ByteRange& range : ranges) {
    for (uint64_t at = range.begin; at < range.end;) {
      const size_t count = std::min<uint64_t>(piece.size(), range.end - at);
      file.read(piece.data(), count, at);
      hash.update(piece.data(), count);
      at += count;
    }
  }
  return hash.hex();
}

}  // namespace muster
