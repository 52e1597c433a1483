#include "dataloader/image.h"

#include <fmt/format.h>

#include "dataloader/decoder_complaints.h"
#include "dataloader/image_jpeg.h"
#include "dataloader/image_png.h"
#include "launch/error.h"

namespace muster {

Image allocate_image(int64_t width, int64_t height, const std::string& what) {
  if (width < 1 || height < 1 || width > kMaxImagePixels / height) {
    throw DataError(fmt::format("{}: {} x {} pixels, at most {} in all are read: leave the image out or shrink it",
                                what, width, height, kMaxImagePixels));
  }
  Image image;
  image.width = static_cast<int>(width);
  image.height = static_cast<int>(height);
  image.pixels.resize(static_cast<size_t>(width * height * 3));
  return image;
}

Image decode_image(const uint8_t* data, size_t size, const std::string& what) {
  Complaints ignored;
  return decode_image(data, size, what, ignored);
}

Image decode_image(const uint8_t* data, size_t size, const std::string& what, Complaints& complaints) {
  complaints = {};
  if (is_jpeg(data, size)) return decode_jpeg(data, size, what, complaints);
  if (is_png(data, size)) return decode_png(data, size, what);
  throw DataError(fmt::format("{}: not a JPEG or PNG image ({} bytes): convert it or leave it out", what, size));
}

}  // namespace muster
