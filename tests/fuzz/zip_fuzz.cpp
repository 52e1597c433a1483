// Zip archives: the directory, and every entry's bytes. Checksums of what lies where the directory says are made right,
// or no changed entry would be read to its end.
#include <string>

#include "dataloader/formats/zip_reader.h"
#include "tests/fuzz/target.h"
#include "tests/support/torch_archive.h"

namespace muster::fuzz {
namespace {

uint64_t number_at(const std::string& bytes, size_t at, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size && at + i < bytes.size(); ++i) {
    value |= uint64_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  }
  return value;
}

void make_checksums_right(std::string& zip) {
  for (size_t at = zip.find("PK\1\2"); at != std::string::npos; at = zip.find("PK\1\2", at + 1)) {
    const uint64_t local = number_at(zip, at + 42, 4), bytes = number_at(zip, at + 24, 4);
    const uint64_t begin = local + 30 + number_at(zip, local + 26, 2) + number_at(zip, local + 28, 2);
    if (at + 46 > zip.size() || begin > zip.size() || bytes > zip.size() - begin) continue;
    const std::string crc = little_endian(crc_32(zip.substr(begin, bytes)), 4);
    zip.replace(at + 16, 4, crc);
    zip.replace(local + 14, 4, crc);
  }
}

}  // namespace

std::vector<std::string> seeds() {
  return {stored_zip({{"a/data.pkl", "pickle"}, {"a/byteorder", "little"}, {"a/data/0", std::string(64, 'x')}}),
          stored_zip({{"empty", ""}, {"../up", "x"}, {std::string(300, 'n'), "long"}}), stored_zip({})};
}

std::vector<std::string> words() {
  return {"PK\1\2",
          "PK\3\4",
          "PK\5\6",
          "PK\6\6",
          "PK\6\7",
          "PK\7\x08",
          "\xff\xff\xff\xff",
          "\xff\xff",
          "data.pkl",
          "/",
          std::string(4, '\0'),
          std::string("\1\0", 2),
          std::string("\x08\0", 2),
          "\xff\xff\xff\x7f"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  fuzz::make_checksums_right(bytes);
  const fuzz::MemoryFile file(bytes);
  fuzz::allow_refusal([&] {
    const ZipReader zip(file.path());
    for (const ZipReader::Entry& entry : zip.entries()) {
      fuzz::require(entry.bytes <= bytes.size(), "an entry is no larger than its archive");
      fuzz::require(zip.find(entry.name) == &entry, "an entry is found by its name");
    }
    for (const ZipReader::Entry& entry : zip.entries()) {
      fuzz::require(zip.read(entry, bytes.size()).size() == entry.bytes, "an entry has all its bytes");
    }
  });
  return 0;
}
