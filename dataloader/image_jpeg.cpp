#include "dataloader/image_jpeg.h"

#include <fmt/format.h>
#include <turbojpeg.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>

#include <jpeglib.h>  // wants <cstdio> before it

#include "launch/error.h"

namespace muster {
namespace {

constexpr int kMaxScans = 500;  // of a progressive file: TurboJPEG's own limit
constexpr int kSmoothedCoefficients =
    10;  // those whose absence libjpeg hides by smoothing, each version in its own way

// libjpeg leaves by longjmp, so the functions between setjmp and its calls hold nothing that has a destructor; what
// must be released or reported lives here.
struct Reader {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg_source_mgr source{};
  jpeg_progress_mgr progress{};
  std::jmp_buf leave;
  int complaints = 0;
  char first_complaint[JMSG_LENGTH_MAX] = "";
  char error[JMSG_LENGTH_MAX] = "";

  Reader(const uint8_t* data, size_t size);
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { jpeg_destroy_decompress(&jpeg); }
};

Reader& reader_of(j_common_ptr jpeg) {
  return *static_cast<Reader*>(jpeg->client_data);
}

[[noreturn]] void leave_with(Reader& reader, const char* error) {
  std::strncpy(reader.error, error, sizeof reader.error - 1);
  std::longjmp(reader.leave, 1);
}

void on_error(j_common_ptr jpeg) {
  char text[JMSG_LENGTH_MAX];
  jpeg->err->format_message(jpeg, text);
  leave_with(reader_of(jpeg), text);
}

// Below 0: a warning; the decoder goes on.
void on_message(j_common_ptr jpeg, int level) {
  if (level >= 0) return;
  Reader& reader = reader_of(jpeg);
  if (reader.complaints++ == 0) jpeg->err->format_message(jpeg, reader.first_complaint);
}

void on_output(j_common_ptr) {}

// libjpeg itself would put an end where there is none, and show grey.
boolean on_end_of_data(j_decompress_ptr jpeg) {
  leave_with(reader_of(reinterpret_cast<j_common_ptr>(jpeg)), "the file ends too early");
}

void skip(j_decompress_ptr jpeg, long count) {
  if (count <= 0) return;
  if (static_cast<size_t>(count) > jpeg->src->bytes_in_buffer) on_end_of_data(jpeg);
  jpeg->src->next_input_byte += count;
  jpeg->src->bytes_in_buffer -= static_cast<size_t>(count);
}

void nothing(j_decompress_ptr) {}

void on_progress(j_common_ptr jpeg) {
  const auto* decoder = reinterpret_cast<j_decompress_ptr>(jpeg);
  if (decoder->input_scan_number > kMaxScans) leave_with(reader_of(jpeg), "more than 500 scans");
}

Reader::Reader(const uint8_t* data, size_t size) {
  jpeg.err = jpeg_std_error(&errors);
  errors.error_exit = on_error;
  errors.emit_message = on_message;
  errors.output_message = on_output;
  jpeg.client_data = this;
  source.next_input_byte = data;
  source.bytes_in_buffer = size;
  source.init_source = nothing;
  source.fill_input_buffer = on_end_of_data;
  source.skip_input_data = skip;
  source.resync_to_restart = jpeg_resync_to_restart;
  source.term_source = nothing;
  progress.progress_monitor = on_progress;
}

// False after an error, as below.
bool read_header(Reader& reader) {
  if (setjmp(reader.leave) != 0) return false;
  jpeg_create_decompress(&reader.jpeg);
  reader.jpeg.client_data = &reader;
  reader.jpeg.src = &reader.source;
  reader.jpeg.progress = &reader.progress;
  jpeg_read_header(&reader.jpeg, TRUE);
  if (reader.complaints > 0) leave_with(reader, reader.first_complaint);
  const bool cmyk = reader.jpeg.jpeg_color_space == JCS_CMYK || reader.jpeg.jpeg_color_space == JCS_YCCK;
  reader.jpeg.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  reader.jpeg.dct_method = JDCT_ISLOW;
  return true;
}

// Whether a progressive file that was read to its end gave the lowest coefficients to the last bit.
bool has_all_scans(const jpeg_decompress_struct& jpeg) {
  for (int component = 0; component < jpeg.num_components; ++component) {
    for (int i = 0; i < kSmoothedCoefficients; ++i) {
      if (jpeg.coef_bits[component][i] != 0) return false;
    }
  }
  return true;
}

bool read_rows(Reader& reader, uint8_t* pixels, size_t row_bytes) {
  if (setjmp(reader.leave) != 0) return false;
  jpeg_start_decompress(&reader.jpeg);
  if (reader.jpeg.progressive_mode && !has_all_scans(reader.jpeg)) leave_with(reader, "scans are missing");
  while (reader.jpeg.output_scanline < reader.jpeg.output_height) {
    JSAMPROW row = pixels + reader.jpeg.output_scanline * row_bytes;
    jpeg_read_scanlines(&reader.jpeg, &row, 1);
  }
  jpeg_finish_decompress(&reader.jpeg);
  return true;
}

[[noreturn]] void fail(const std::string& what, const Reader& reader) {
  throw DataError(
      fmt::format("{}: damaged or unsupported JPEG ({}): replace the file or leave it out", what, reader.error));
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

struct DestroyHandle {
  void operator()(void* handle) const { tjDestroy(handle); }
};
struct FreeBuffer {
  void operator()(unsigned char* buffer) const { tjFree(buffer); }
};

}  // namespace

bool is_jpeg(const uint8_t* data, size_t size) {
  return size >= 3 && data[0] == 0xFF && data[1] == 0xD8 && data[2] == 0xFF;
}

Image decode_jpeg(const uint8_t* data, size_t size, const std::string& what, Complaints& complaints) {
  Reader reader(data, size);
  if (!read_header(reader)) fail(what, reader);
  Image image = allocate_image(reader.jpeg.image_width, reader.jpeg.image_height, what);
  const bool is_cmyk = reader.jpeg.out_color_space == JCS_CMYK;
  std::vector<uint8_t> cmyk(is_cmyk ? image.pixels.size() / 3 * 4 : 0);
  const size_t row_bytes = static_cast<size_t>(image.width) * (is_cmyk ? 4 : 3);
  if (!read_rows(reader, is_cmyk ? cmyk.data() : image.pixels.data(), row_bytes)) fail(what, reader);
  if (is_cmyk) cmyk_to_rgb(cmyk, image.pixels);
  complaints = {reader.complaints, reader.first_complaint};
  return image;
}

std::vector<uint8_t> encode_jpeg(const Image& image, int quality) {
  const std::unique_ptr<void, DestroyHandle> handle(tjInitCompress());
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  const int result = tjCompress2(handle.get(), image.pixels.data(), image.width, 0, image.height, TJPF_RGB, &bytes,
                                 &size, TJSAMP_420, quality, TJFLAG_ACCURATEDCT);
  const std::unique_ptr<unsigned char, FreeBuffer> owner(bytes);
  if (result != 0) throw std::logic_error(fmt::format("encode_jpeg: {}", tjGetErrorStr2(handle.get())));
  return {bytes, bytes + size};
}

}  // namespace muster
