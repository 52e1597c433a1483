#include "dataloader/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace muster {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr int kChannels = 3;
// Both passes work on groups of this many bytes: kRows rows of one pixel, or kGroup neighbours of one row.
constexpr int kRows = 16;
constexpr int kGroup = kRows * kChannels;

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double bilinear(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

// Output element i = first + j is the sum over t of weight[j * width + t] * input[start[j] + t], t < count[j].
struct Coefficients {
  int width = 0;
  std::vector<int> start;
  std::vector<int> count;
  std::vector<int32_t> weight;
};

int32_t to_fixed_point(double weight) {
  return static_cast<int32_t>((weight < 0 ? -0.5 : 0.5) + weight * (1 << kPrecisionBits));
}

Coefficients make_coefficients(int in_size, int out_size, int first, int outputs, Filter filter) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = (filter == Filter::kBicubic ? 2.0 : 1.0) * filter_scale;
  Coefficients result;
  result.width = static_cast<int>(std::ceil(support)) * 2 + 1;
  result.weight.resize(static_cast<size_t>(outputs) * static_cast<size_t>(result.width));
  std::vector<double> weights(static_cast<size_t>(result.width));
  for (int j = 0; j < outputs; ++j) {
    const double center = (first + j + 0.5) * scale;
    const int start = std::max(static_cast<int>(center - support + 0.5), 0);
    const int count = std::min(static_cast<int>(center + support + 0.5), in_size) - start;
    double sum = 0.0;
    for (int t = 0; t < count; ++t) {
      const double x = (t + start - center + 0.5) * (1.0 / filter_scale);
      weights[static_cast<size_t>(t)] = filter == Filter::kBicubic ? bicubic(x) : bilinear(x);
      sum += weights[static_cast<size_t>(t)];
    }
    int32_t* fixed = &result.weight[static_cast<size_t>(j) * static_cast<size_t>(result.width)];
    for (int t = 0; t < count; ++t) fixed[t] = to_fixed_point(weights[static_cast<size_t>(t)] / sum);
    result.start.push_back(start);
    result.count.push_back(count);
  }
  return result;
}

// out[i] = sum over t of weight[t] * in[t * stride + i], rounded and clipped to 8 bits, for a group of i.
[[gnu::always_inline]] inline void weigh_group_body(const uint8_t* in, ptrdiff_t stride, const int32_t* weight,
                                                    int count, uint8_t* out) {
  int32_t sums[kGroup];
  for (int i = 0; i < kGroup; ++i) sums[i] = 1 << (kPrecisionBits - 1);
  for (int t = 0; t < count; ++t, in += stride) {
    for (int i = 0; i < kGroup; ++i) sums[i] += in[i] * weight[t];
  }
  for (int i = 0; i < kGroup; ++i) out[i] = static_cast<uint8_t>(std::clamp(sums[i] >> kPrecisionBits, 0, 255));
}

using WeighGroup = void (*)(const uint8_t* in, ptrdiff_t stride, const int32_t* weight, int count, uint8_t* out);

void weigh_group(const uint8_t* in, ptrdiff_t stride, const int32_t* weight, int count, uint8_t* out) {
  weigh_group_body(in, stride, weight, count, out);
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] void weigh_group_avx2(const uint8_t* in, ptrdiff_t stride, const int32_t* weight, int count,
                                              uint8_t* out) {
  weigh_group_body(in, stride, weight, count, out);
}

WeighGroup choose_weigh_group() {
  return __builtin_cpu_supports("avx2") ? weigh_group_avx2 : weigh_group;
}
#else
WeighGroup choose_weigh_group() {
  return weigh_group;
}
#endif

size_t bytes(int pixels) {
  return static_cast<size_t>(pixels) * kChannels;
}

// Rows as bytes with a stride; the last group of a row may read and write kGroup - 1 bytes past the row's end.
struct Rows {
  size_t stride;
  std::vector<uint8_t> data;

  Rows(int rows, int width) : stride(bytes(width)), data(static_cast<size_t>(rows) * stride + kGroup - 1) {}
  uint8_t* row(int y) { return data.data() + static_cast<size_t>(y) * stride; }
};

// A group here is kRows rows of one pixel: those rows are laid out pixel by pixel first, so that neighbours in x are
// kGroup bytes apart and the same inner loop does both passes.
Rows horizontal_pass(const uint8_t* in, int in_width, int rows, const Coefficients& c) {
  const WeighGroup weigh = choose_weigh_group();
  const int out_width = static_cast<int>(c.start.size());
  Rows result(rows, out_width);
  std::vector<uint8_t> columns(static_cast<size_t>(in_width) * kGroup);
  uint8_t group[kGroup];
  for (int y = 0; y < rows; y += kRows) {
    const int height = std::min(kRows, rows - y);
    for (int r = 0; r < height; ++r) {
      const uint8_t* row = in + static_cast<size_t>(y + r) * bytes(in_width);
      for (int x = 0; x < in_width; ++x)
        std::memcpy(&columns[static_cast<size_t>(x) * kGroup + bytes(r)], row + bytes(x), kChannels);
    }
    for (int x = 0; x < out_width; ++x) {
      const auto j = static_cast<size_t>(x);
      weigh(&columns[static_cast<size_t>(c.start[j]) * kGroup], kGroup, &c.weight[j * static_cast<size_t>(c.width)],
            c.count[j], group);
      for (int r = 0; r < height; ++r) std::memcpy(result.row(y + r) + bytes(x), group + bytes(r), kChannels);
    }
  }
  return result;
}

void vertical_pass(Rows& in, const Coefficients& c, uint8_t* out) {
  const WeighGroup weigh = choose_weigh_group();
  uint8_t group[kGroup];
  for (size_t y = 0; y < c.start.size(); ++y, out += in.stride) {
    const int32_t* weight = &c.weight[y * static_cast<size_t>(c.width)];
    for (size_t i = 0; i < in.stride; i += kGroup) {
      weigh(in.row(c.start[y]) + i, static_cast<ptrdiff_t>(in.stride), weight, c.count[y], group);
      std::memcpy(out + i, group, std::min<size_t>(kGroup, in.stride - i));
    }
  }
}

Rows copy_rows(const uint8_t* in, int in_width, int rows, const Window& window) {
  Rows result(rows, window.width);
  for (int y = 0; y < rows; ++y) {
    const uint8_t* row = in + static_cast<size_t>(y) * bytes(in_width) + bytes(window.x);
    std::memcpy(result.row(y), row, result.stride);
  }
  return result;
}

}  // namespace

Image resize(const Image& image, int width, int height, Filter filter, const Window& window) {
  if (image.width < 1 || image.height < 1 || window.x < 0 || window.y < 0 || window.width < 1 || window.height < 1 ||
      window.width > width - window.x || window.height > height - window.y) {
    throw std::logic_error("resize: an empty image, or a window outside of it");
  }
  Image result = allocate_image(window.width, window.height, "resize");
  Coefficients vertical = make_coefficients(image.height, height, window.y, window.height, filter);
  const int first_row = vertical.start.front();
  const int rows = vertical.start.back() + vertical.count.back() - first_row;
  for (int& start : vertical.start) start -= first_row;

  const uint8_t* in = image.pixels.data() + static_cast<size_t>(first_row) * bytes(image.width);
  Rows narrowed = width == image.width
                      ? copy_rows(in, image.width, rows, window)
                      : horizontal_pass(in, image.width, rows,
                                        make_coefficients(image.width, width, window.x, window.width, filter));
  vertical_pass(narrowed, vertical, result.pixels.data());
  return result;
}

Image resize(const Image& image, int width, int height, Filter filter) {
  if (width == image.width && height == image.height) return image;
  return resize(image, width, height, filter, {0, 0, width, height});
}

}  // namespace muster
