// Stores and changes to them, for tests of what a reader accepts.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "dataloader/formats/hashes.h"
#include "dataloader/store.h"
#include "launch/error.h"
#include "tests/support/file_bytes.h"

namespace muster {

// Records of all splits, shared identities, captions in several scripts and image bytes of many lengths. The bytes are
// no images: a store does not look into them.
inline std::vector<StoreRecord> sample_records(int count) {
  std::mt19937 random(7);
  std::vector<StoreRecord> records;
  for (int i = 0; i < count; ++i) {
    StoreRecord record;
    record.source_path = "images/\xc3\xa9" + std::to_string(i) + ".jpg";
    record.image.resize(1 + random() % 200);
    for (uint8_t& byte : record.image) byte = static_cast<uint8_t>(random());
    record.width = 1 + static_cast<int32_t>(random() % 500);
    record.height = 1 + static_cast<int32_t>(random() % 500);
    for (int c = 0; c < i % 4; ++c) {
      record.captions.push_back("caption " + std::to_string(c) + " of \xe4\xba\xba " + std::to_string(i));
    }
    record.identity = "person " + std::to_string(random() % static_cast<unsigned>(count));
    record.split = static_cast<Split>(random() % 3);
    records.push_back(record);
  }
  return records;
}

// The same with 1 to `most` regions each; every third has no image bytes.
inline std::vector<StoreRecord> sample_region_records(int count, int64_t width, int most = 5) {
  std::mt19937 random(11);
  std::vector<StoreRecord> records = sample_records(count);
  for (size_t i = 0; i < records.size(); ++i) {
    if (i % 3 == 0) records[i].image.clear();
    const size_t rows = 1 + random() % static_cast<unsigned>(most);
    for (size_t k = 0; k < rows * static_cast<size_t>(width); ++k)
      records[i].regions.features.push_back(static_cast<uint16_t>(random() % 0x7c00));
    for (size_t k = 0; k < rows * 4; ++k) records[i].regions.boxes.push_back(static_cast<float>(random() % 1000) / 8);
  }
  return records;
}

inline void write_store(const std::string& path, const std::vector<StoreRecord>& records, int64_t shard_bytes,
                        int64_t region_width = 0) {
  StoreWriter writer(path, StoreWriter::Options{shard_bytes, region_width, region_width > 0 ? "an extractor" : ""});
  for (const StoreRecord& record : records) writer.add(record);
  writer.finish();
}

inline std::string read_text(const std::string& path) {
  const std::vector<uint8_t> bytes = read_bytes(path);
  return {bytes.begin(), bytes.end()};
}

inline void write_text(const std::string& path, const std::string& text) {
  write_bytes(path, std::vector<uint8_t>(text.begin(), text.end()));
}

// In place: much faster than writing the file anew.
inline void replace_byte(const std::string& path, size_t at, uint8_t byte) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(byte));
}

// The manifest with the hash in its last line made right again.
inline std::string with_right_hash(const std::string& manifest) {
  const std::string body = manifest.substr(0, manifest.rfind("# xxh3-128 "));
  return body + "# xxh3-128 " + xxh3_128_hex(body.data(), body.size()) + "\n";
}

// Every file of a folder, by name.
inline std::vector<std::pair<std::string, std::string>> folder_contents(const std::string& folder) {
  std::vector<std::pair<std::string, std::string>> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files.emplace_back(entry.path().filename().string(), read_text(entry.path().string()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

// what() of the DataError that `call` throws, empty if it throws none. Other exceptions pass.
template <typename Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

}  // namespace muster
