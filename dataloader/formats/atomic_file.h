// Files that are either whole or absent. All functions throw DataError naming the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

// What was handed over to be written, whatever the disk made of it.
struct WrittenFile {
  uint64_t bytes = 0;
  std::string xxh3_128;  // as xxh3_128_hex()
};

// Writes PATH.partial, fsyncs it, renames it to PATH and fsyncs the folder. On any failure PATH is as it was and the
// partial file is gone.
WrittenFile write_file_atomically(const std::string& path, std::string_view contents);

// The same, with the bytes handed to `sink` piece by piece: write(sink) calls sink(data, size) any number of times.
using ByteSink = std::function<void(const void* data, size_t size)>;
WrittenFile write_file_atomically(const std::string& path, const std::function<void(const ByteSink& sink)>& write);

// The whole file; refuses one larger than max_bytes before taking memory.
std::string read_file(const std::string& path, size_t max_bytes);

void fsync_folder(const std::string& path);

}  // namespace muster
