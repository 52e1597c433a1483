// Zip archives and pickles as torch.save writes them, by the byte: for files that no honest program would make.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace muster {

inline std::string little_endian(uint64_t value, size_t bytes) {
  std::string digits;
  for (size_t i = 0; i < bytes; ++i) digits += static_cast<char>(value >> (8 * i) & 0xFFU);
  return digits;
}

inline uint32_t crc_32(const std::string& bytes) {
  uint32_t crc = 0xFFFFFFFFU;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ (0xEDB88320U & (0U - (crc & 1U)));
  }
  return ~crc;
}

// Entries (name, bytes) stored as they are. `claimed`: added to the size that each is said to have.
inline std::string stored_zip(const std::vector<std::pair<std::string, std::string>>& entries, uint64_t claimed = 0) {
  std::string zip, directory;
  for (const auto& [name, bytes] : entries) {
    const std::string about = little_endian(0, 4) + little_endian(0x0021, 4) + little_endian(crc_32(bytes), 4) +
                              little_endian(bytes.size() + claimed, 4) + little_endian(bytes.size() + claimed, 4) +
                              little_endian(name.size(), 2);
    directory += "PK\1\2" + little_endian(20, 2) + little_endian(20, 2) + about + std::string(12, '\0') +
                 little_endian(zip.size(), 4) + name;
    zip += "PK\3\4" + little_endian(20, 2) + about + little_endian(0, 2) + name + bytes;
  }
  const std::string count = little_endian(entries.size(), 2);
  return zip + directory + "PK\5\6" + std::string(4, '\0') + count + count + little_endian(directory.size(), 4) +
         little_endian(zip.size(), 4) + little_endian(0, 2);
}

// A file of torch.save with this pickle (protocol 2, without its first two and its last byte) and storages "0", "1",
// ...
inline std::string torch_archive(const std::string& pickle, const std::vector<std::string>& storages = {}) {
  std::vector<std::pair<std::string, std::string>> entries{{"archive/data.pkl", "\x80\2" + pickle + "."}};
  for (size_t i = 0; i < storages.size(); ++i) entries.emplace_back("archive/data/" + std::to_string(i), storages[i]);
  return stored_zip(entries);
}

inline std::string pickled(const std::string& text) {
  return "X" + little_endian(text.size(), 4) + text;
}

inline std::string pickled(int64_t number) {
  return "\x8a\x08" + little_endian(static_cast<uint64_t>(number), 8);
}

inline std::string pickled(const std::vector<int64_t>& sizes) {
  std::string tuple = "(";
  for (const int64_t size : sizes) tuple += pickled(size);
  return tuple + "t";
}

struct PickledTensor {
  std::string storage = "0";
  int64_t elements = 0;  // of the storage
  int64_t offset = 0;
  std::vector<int64_t> sizes, strides;
  std::string type = "FloatStorage";
};

inline std::string pickled(const PickledTensor& tensor) {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + pickled("storage") + "ctorch\n" + tensor.type + "\n" +
         pickled(tensor.storage) + pickled("cpu") + pickled(tensor.elements) + "tQ" + pickled(tensor.offset) +
         pickled(tensor.sizes) + pickled(tensor.strides) +
         "\x89"
         "ccollections\nOrderedDict\n)RtR";
}

}  // namespace muster
