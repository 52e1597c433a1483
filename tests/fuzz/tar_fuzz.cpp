// webdataset's tars. Checksums of headers are made right first, or nearly every input would end at the first.
#include <cstdio>
#include <string>

#include "dataloader/importers/webdataset.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {
namespace {

constexpr size_t kBlock = 512;

void make_checksum_right(std::string& tar, size_t at) {
  tar.replace(at + 148, 8, 8, ' ');
  unsigned sum = 0;
  for (size_t i = 0; i < kBlock; ++i) sum += static_cast<unsigned char>(tar[at + i]);
  char digits[8];
  std::snprintf(digits, sizeof digits, "%06o", sum & 0777777U);
  tar.replace(at + 148, 7, digits, 7);
}

std::string member(const std::string& name, const std::string& data, char type = '0') {
  std::string block(kBlock, '\0');
  char size[12];
  std::snprintf(size, sizeof size, "%011zo", data.size());
  block.replace(0, name.size(), name);
  block.replace(100, 7, "0000644");
  block.replace(124, 11, size);
  block[156] = type;
  block.replace(257, 8, "ustar\00000", 8);
  make_checksum_right(block, 0);
  std::string padded = data;
  padded.resize((data.size() + kBlock - 1) / kBlock * kBlock);
  return block + padded;
}

}  // namespace

std::vector<std::string> seeds() {
  const std::string end(2 * kBlock, '\0');
  const std::string json = R"({"captions": ["a", "b"], "identity": 3, "split": "val"})";
  return {
      member("a/1.jpg", "picture") + member("a/1.txt", "a man\n") + member("a/1.json", json) + end,
      member("x", "24 path=a/long.name.png\n", 'x') + member("short", "picture") + end,
      member("x", "20 size=00000000007\n", 'x') + member("1.jpg", "picture") + end,
      member("././@LongLink", "a/very/long/name.jpg", 'L') + member("1", "picture") + member("folder/", "", '5') + end};
}

std::vector<std::string> words() {
  return {"ustar",
          "path=",
          "size=",
          "25 path=",
          "GNU.sparse.major=1\n",
          ".jpg",
          ".txt",
          ".json",
          "/",
          std::string(8, '\0'),
          std::string("\x80\0\0\0\0\0\0\x7f\xff\xff\xff\xff", 12),
          "77777777777",
          "\xff\xff\xff\xff",
          "x",
          "L",
          "S"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  std::string tar(reinterpret_cast<const char*>(data), size);
  for (size_t at = 0; at + fuzz::kBlock <= tar.size(); at += fuzz::kBlock) {
    if (tar.compare(at + 257, 5, "ustar") == 0) fuzz::make_checksum_right(tar, at);
  }
  const fuzz::MemoryFile file(tar);
  fuzz::allow_refusal([&] {
    for (const ImportRow& row : read_webdataset({file.path()}).rows) {
      const bool lies_inside = row.begin <= size && row.bytes <= size - row.begin;
      fuzz::require(!row.refusal.empty() || lies_inside, "an image that is taken lies in the tar");
    }
  });
  return 0;
}
