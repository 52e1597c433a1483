#include "dataloader/image_png.h"

#include <fmt/format.h>
#include <png.h>

#include <csetjmp>
#include <cstring>

#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kSignatureBytes = 8;

// libpng leaves by longjmp, so the functions between setjmp and its calls hold nothing that has a destructor; what must
// be released or reported lives here.
struct Reader {
  const uint8_t* next = nullptr;
  size_t left = 0;
  png_structp png = nullptr;
  png_infop info = nullptr;
  char error[128] = "";

  Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* reader = static_cast<Reader*>(png_get_error_ptr(png));
  std::strncpy(reader->error, message, sizeof(reader->error) - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp png, png_const_charp message) {
  on_error(png, message);
}

void read_bytes(png_structp png, png_bytep out, size_t count) {
  auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
  if (count > reader->left) png_error(png, "the file ends too early");
  std::memcpy(out, reader->next, count);
  reader->next += count;
  reader->left -= count;
}

// Reads the header and asks for 8-bit RGB, as Pillow's convert("RGB") gives it: the high byte of 16 bits, palette and
// grey widened, alpha and transparent colours dropped, no gamma. False after an error.
bool start(Reader& reader) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  png_set_read_fn(reader.png, &reader, read_bytes);
  // Text, profiles and times are skipped unread; what is left is the image, where each complaint counts.
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_set_benign_errors(reader.png, 0);
  png_read_info(reader.png, reader.info);
  png_set_strip_16(reader.png);
  png_set_palette_to_rgb(reader.png);
  if (png_get_color_type(reader.png, reader.info) == PNG_COLOR_TYPE_GRAY) {
    png_set_expand_gray_1_2_4_to_8(reader.png);
  }
  png_set_gray_to_rgb(reader.png);
  png_set_strip_alpha(reader.png);
  return true;
}

bool read_rows(Reader& reader, uint8_t* pixels, size_t row_bytes) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  const int passes = png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  if (png_get_rowbytes(reader.png, reader.info) != row_bytes) png_error(reader.png, "unknown pixel layout");
  const png_uint_32 height = png_get_image_height(reader.png, reader.info);
  for (int pass = 0; pass < passes; ++pass) {
    for (png_uint_32 row = 0; row < height; ++row) png_read_row(reader.png, pixels + row * row_bytes, nullptr);
  }
  png_read_end(reader.png, nullptr);
  return true;
}

[[noreturn]] void fail(const std::string& what, const Reader& reader) {
  throw DataError(
      fmt::format("{}: damaged or unsupported PNG ({}): replace the file or leave it out", what, reader.error));
}

}  // namespace

bool is_png(const uint8_t* data, size_t size) {
  return size >= kSignatureBytes && png_sig_cmp(data, 0, kSignatureBytes) == 0;
}

Image decode_png(const uint8_t* data, size_t size, const std::string& what) {
  Reader reader;
  reader.next = data;
  reader.left = size;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
  if (reader.png != nullptr) reader.info = png_create_info_struct(reader.png);
  if (reader.info == nullptr) throw std::bad_alloc();
  if (!start(reader)) fail(what, reader);
  Image image =
      allocate_image(png_get_image_width(reader.png, reader.info), png_get_image_height(reader.png, reader.info), what);
  if (!read_rows(reader, image.pixels.data(), static_cast<size_t>(image.width) * 3)) fail(what, reader);
  return image;
}

}  // namespace muster
