#include "dataloader/image_jpeg.h"

#include <fmt/format.h>
#include <turbojpeg.h>

#include <memory>

#include "launch/error.h"

namespace muster {
namespace {

struct DestroyHandle {
  void operator()(void* handle) const { tjDestroy(handle); }
};
struct FreeBuffer {
  void operator()(unsigned char* buffer) const { tjFree(buffer); }
};
// One handle an image: after an error a used one refuses good images.
using Handle = std::unique_ptr<void, DestroyHandle>;

constexpr int kDecodeFlags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;

struct Header {
  int width = 0;
  int height = 0;
  bool cmyk = false;
};

[[noreturn]] void fail(const std::string& what, tjhandle handle) {
  throw DataError(fmt::format("{}: damaged or unsupported JPEG ({}): replace the file or leave it out", what,
                              tjGetErrorStr2(handle)));
}

Header read_header(const uint8_t* data, size_t size, const std::string& what) {
  const Handle handle(tjInitDecompress());
  Header header;
  int subsampling = -1;
  int colorspace = -1;
  const int result =
      tjDecompressHeader3(handle.get(), data, size, &header.width, &header.height, &subsampling, &colorspace);
  // An unusual sampling has no TurboJPEG name, which fails this call after all else is known, but decodes well.
  if (result != 0 && (header.width < 1 || header.height < 1 || colorspace < 0)) fail(what, handle.get());
  header.cmyk = colorspace == TJCS_CMYK || colorspace == TJCS_YCCK;
  return header;
}

uint8_t multiply(int a, int b) {
  const int product = a * b + 128;
  return static_cast<uint8_t>(((product >> 8) + product) >> 8);
}

// Adobe's convention, as Pillow: the file holds 255 - ink, so that c * k here is (255 - C)(255 - K) / 255.
void cmyk_to_rgb(const std::vector<uint8_t>& cmyk, std::vector<uint8_t>& rgb) {
  for (size_t pixel = 0; pixel < rgb.size() / 3; ++pixel) {
    const uint8_t* ink = &cmyk[pixel * 4];
    for (size_t channel = 0; channel < 3; ++channel) {
      const int covered = multiply(255 - ink[channel], ink[3]);
      rgb[pixel * 3 + channel] = static_cast<uint8_t>(ink[3] - covered);
    }
  }
}

}  // namespace

bool is_jpeg(const uint8_t* data, size_t size) {
  return size >= 3 && data[0] == 0xFF && data[1] == 0xD8 && data[2] == 0xFF;
}

Image decode_jpeg(const uint8_t* data, size_t size, const std::string& what) {
  const Header header = read_header(data, size, what);
  Image image = allocate_image(header.width, header.height, what);
  std::vector<uint8_t> cmyk(header.cmyk ? image.pixels.size() / 3 * 4 : 0);
  uint8_t* pixels = header.cmyk ? cmyk.data() : image.pixels.data();
  const Handle handle(tjInitDecompress());
  if (tjDecompress2(handle.get(), data, size, pixels, header.width, 0, header.height,
                    header.cmyk ? TJPF_CMYK : TJPF_RGB, kDecodeFlags) != 0) {
    fail(what, handle.get());
  }
  if (header.cmyk) cmyk_to_rgb(cmyk, image.pixels);
  return image;
}

std::vector<uint8_t> encode_jpeg(const Image& image, int quality) {
  const Handle handle(tjInitCompress());
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  const int result = tjCompress2(handle.get(), image.pixels.data(), image.width, 0, image.height, TJPF_RGB, &bytes,
                                 &size, TJSAMP_420, quality, TJFLAG_ACCURATEDCT);
  const std::unique_ptr<unsigned char, FreeBuffer> owner(bytes);
  if (result != 0) throw std::logic_error(fmt::format("encode_jpeg: {}", tjGetErrorStr2(handle.get())));
  return {bytes, bytes + size};
}

}  // namespace muster
