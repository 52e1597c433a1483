// JPEG and PNG. The seeds are small, so that most of an input is headers and tables; the checksums of a PNG's chunks
// are made right first.
#include <algorithm>
#include <string>

#include "dataloader/image.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {
namespace {

uint32_t crc_of(const uint8_t* data, size_t size) {
  uint32_t crc = ~0U;
  for (size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1U ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

// Signature, then chunks: length, type, data, checksum of the two before it.
void make_checksums_right(std::vector<uint8_t>& png) {
  constexpr size_t kSignature = 8, kAround = 12;
  const auto number = [&](size_t at) {
    return uint32_t{png[at]} << 24U | uint32_t{png[at + 1]} << 16U | uint32_t{png[at + 2]} << 8U |
           uint32_t{png[at + 3]};
  };
  for (size_t at = kSignature; at + kAround <= png.size();) {
    const size_t length = number(at);
    if (length > png.size() - at - kAround) return;
    const uint32_t crc = crc_of(png.data() + at + 4, length + 4);
    for (unsigned i = 0; i < 4; ++i) png[at + 8 + length + i] = static_cast<uint8_t>(crc >> (24 - 8 * i));
    at += kAround + length;
  }
}

}  // namespace

std::vector<std::string> seeds() {
  std::vector<uint8_t> pixels(size_t{3} * 24 * 20);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 7);
  const std::vector<uint8_t> jpeg = encode_jpeg({24, 20, pixels}, 60);
  // 1 x 1, grey with 8 bits: signature, IHDR, IDAT, IEND.
  const std::string png(
      "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0\x3a\x7e\x9b\x55\0\0\0\nIDAT\x78\x9c\x63\x60\0\0\0\2\0"
      "\1"
      "\x48\xaf\xa4\x71\0\0\0\0IEND\xae\x42\x60\x82",
      67);
  return {std::string(jpeg.begin(), jpeg.end()), png};
}

std::vector<std::string> words() {
  return {"\xff\xd8", "\xff\xc0", "\xff\xc2", "\xff\xc4", "\xff\xda", "\xff\xdb", "\xff\xdd", "\xff\xd9",
          "\xff\xee", "IHDR",     "PLTE",     "tRNS",     "IDAT",     "IEND",     "iCCP"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  std::vector<uint8_t> bytes(data, data + size);
  if (size > 1 && bytes[1] == 'P') fuzz::make_checksums_right(bytes);
  fuzz::allow_refusal([&] {
    const Image image = decode_image(bytes.data(), bytes.size(), "input");
    fuzz::require(image.width > 0 && image.height > 0 && int64_t{image.width} * image.height <= kMaxImagePixels,
                  "an image that is taken has a size within bounds");
    fuzz::require(
        image.pixels.size() == size_t{3} * static_cast<size_t>(image.width) * static_cast<size_t>(image.height),
        "an image has all its pixels");
  });
  return 0;
}
