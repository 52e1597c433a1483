// Images in memory, decoded from JPEG and PNG bytes, and encoded to JPEG.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace muster {

// 8-bit RGB, rows top to bottom, no padding: pixels[(y * width + x) * 3 + channel].
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;
};

// Largest image that is decoded; a header that promises more is refused before memory is taken.
constexpr int64_t kMaxImagePixels = int64_t{1} << 27;

// An image of zeros. DataError naming `what` if it would be empty or beyond kMaxImagePixels, before memory is taken.
Image allocate_image(int64_t width, int64_t height, const std::string& what);

// By content, not by name. Grey becomes RGB, alpha is dropped, 16 bits become 8 by their high byte, CMYK JPEG is
// converted: as PIL.Image.open(..).convert("RGB") does, bit for bit, except that Pillow whitens 16-bit grey (it clips
// at 255). Neither the EXIF orientation nor a colour profile is applied. `what` names the image in errors. DataError:
// not JPEG or PNG, truncated, damaged (but see decoder_complaints.h), too large. Any number of threads.
Image decode_image(const uint8_t* data, size_t size, const std::string& what);

// Quality 1..100, 4:2:0 chroma as PIL's default.
std::vector<uint8_t> encode_jpeg(const Image& image, int quality);

}  // namespace muster
