#include "dataloader/transforms.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "dataloader/color.h"
#include "dataloader/random.h"
#include "dataloader/random_box.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr std::array<float, 3> kClipMean = {0.48145466F, 0.4578275F, 0.40821073F};
constexpr std::array<float, 3> kClipStd = {0.26862954F, 0.26130258F, 0.27577711F};

constexpr int64_t kLongestSide = int64_t{1} << 24;

std::array<float, 3> three_or(const google::protobuf::RepeatedField<float>& given, const std::array<float, 3>& fallback,
                              const std::string& name) {
  if (given.empty()) return fallback;
  if (given.size() != 3) {
    throw ConfigError(fmt::format("data.image.{} has {} values: give one for each of red, green and blue, or none",
                                  name, given.size()));
  }
  return {given[0], given[1], given[2]};
}

// Where a window of `inner` begins in the middle of `outer`: torchvision's int(round((outer - inner) / 2.0)), which
// rounds halves to even.
int center_offset(int outer, int inner) {
  const int half = (outer - inner) / 2;
  return (outer - inner) % 2 == 0 ? half : half + half % 2;
}

Image crop(const Image& image, const Window& box) {
  Image part = allocate_image(box.width, box.height, "crop");
  const size_t stride = static_cast<size_t>(box.width) * 3;
  for (int y = 0; y < box.height; ++y) {
    const auto from =
        (static_cast<size_t>(box.y + y) * static_cast<size_t>(image.width) + static_cast<size_t>(box.x)) * 3;
    std::copy_n(&image.pixels[from], stride, &part.pixels[static_cast<size_t>(y) * stride]);
  }
  return part;
}

}  // namespace

std::array<float, 3> channel_means(const ImageTransformConfig& config) {
  return three_or(config.mean(), kClipMean, "mean");
}

std::array<float, 3> channel_deviations(const ImageTransformConfig& config) {
  return three_or(config.std(), kClipStd, "std");
}

ImageTransform::ImageTransform(const ImageTransformConfig& config, int width, int height)
    : width_(width),
      height_(height),
      filter_(config.resample() == ImageTransformConfig::BILINEAR ? Filter::kBilinear : Filter::kBicubic),
      crop_center_(config.fit() == ImageTransformConfig::CENTER_CROP),
      flip_(config.flip()),
      pad_(config.pad_crop()),
      grey_(config.grey()),
      resized_crop_(config.resized_crop()),
      erasing_(config.erasing()),
      color_jitter_(config.color_jitter()),
      normalised_() {
  const std::array<float, 3> mean = channel_means(config), std = channel_deviations(config);
  three_or(erasing_.value(), {}, "erasing.value");
  if (pad_ < 0 || pad_ >= std::min(width, height)) {
    throw ConfigError(fmt::format("data.image.pad_crop is {}: give at least 0 and less than the image's sides, {} x {}",
                                  pad_, width, height));
  }
  for (size_t channel = 0; channel < 3; ++channel) {
    if (!(std[channel] > 0)) throw ConfigError("data.image.std has a value that is not positive: give three that are");
    for (size_t value = 0; value < 256; ++value) {
      normalised_[channel][value] = (static_cast<float>(value) / 255.0F - mean[channel]) / std[channel];
    }
  }
}

void ImageTransform::train(const Image& image, uint64_t seed, uint64_t position, float* out) const {
  const Image fitted = augment(image, seed, position);
  KeyedRandom random(seed, position, Purpose::kAugmentation);
  const uint64_t places = static_cast<uint64_t>(pad_) * 2 + 1;
  Placement placement;
  placement.dx = static_cast<int>(random.next_below(places)) - pad_;
  placement.dy = static_cast<int>(random.next_below(places)) - pad_;
  placement.mirrored = random.next_below(2) == 1 && flip_;
  write(fitted, placement, out);
  erase(seed, position, out);
}

void ImageTransform::evaluate(const Image& image, float* out) const {
  write(fit(image), Placement(), out);
}

Image ImageTransform::augment(const Image& image, uint64_t seed, uint64_t position) const {
  KeyedRandom crop_random(seed, position, Purpose::kResizedCrop);
  const bool cropped = crop_random.next_double() < resized_crop_.probability();
  Image result = cropped ? resize(crop(image, draw_crop_box(resized_crop_, image.width, image.height, crop_random)),
                                  width_, height_, filter_)
                         : fit(image);
  color_jitter_.apply(color_jitter_.choose(KeyedRandom(seed, position, Purpose::kColorJitter)), result);
  if (grey_ > 0 && KeyedRandom(seed, position, Purpose::kGrey).next_double() < grey_) make_grey(result);
  return result;
}

void ImageTransform::erase(uint64_t seed, uint64_t position, float* out) const {
  KeyedRandom random(seed, position, Purpose::kErasing);
  if (random.next_double() >= erasing_.probability()) return;
  const std::optional<Window> box = draw_erasing_box(erasing_, width_, height_, random);
  if (!box) return;
  for (int channel = 0; channel < 3; ++channel) {
    const float value = erasing_.value().empty() ? 0 : erasing_.value(channel);
    for (int y = box->y; y < box->y + box->height; ++y) {
      float* row = out + (static_cast<ptrdiff_t>(channel) * height_ + y) * width_ + box->x;
      for (int x = 0; x < box->width; ++x) row[x] = erasing_.noise() ? static_cast<float>(random.next_normal()) : value;
    }
  }
}

Image ImageTransform::to_image(const float* values) const {
  Image image = allocate_image(width_, height_, "a picture of the model's input");
  const size_t pixels = static_cast<size_t>(width_) * static_cast<size_t>(height_);
  for (size_t i = 0; i < 3 * pixels; ++i) {
    const size_t channel = i / pixels;
    const float black = normalised_[channel][0], white = normalised_[channel][255];
    const float level = std::clamp((values[i] - black) / (white - black), 0.0F, 1.0F);
    image.pixels[i % pixels * 3 + channel] = static_cast<uint8_t>(std::lround(level * 255.0F));
  }
  return image;
}

Image ImageTransform::fit(const Image& image) const {
  if (!crop_center_) return resize(image, width_, height_, filter_);
  // The smallest size with the image's proportions that covers the model's, its longer side rounded down.
  int64_t width = width_;
  int64_t height = height_;
  if (int64_t{image.width} * height_ <= int64_t{image.height} * width_) {
    height = width * image.height / image.width;
  } else {
    width = height * image.width / image.height;
  }
  if (std::max(width, height) > kLongestSide) {
    throw DataError(fmt::format("{} x {} pixels are too long and thin for data.image.fit = CENTER_CROP: leave it out",
                                image.width, image.height));
  }
  const auto full_width = static_cast<int>(width);
  const auto full_height = static_cast<int>(height);
  return resize(image, full_width, full_height, filter_,
                {center_offset(full_width, width_), center_offset(full_height, height_), width_, height_});
}

void ImageTransform::write(const Image& fitted, const Placement& placement, float* out) const {
  const int first = std::max(0, -placement.dx);              // columns [first, last) of the unmirrored output
  const int last = std::min(width_, width_ - placement.dx);  // lie on the image, the others on black
  for (int channel = 0; channel < 3; ++channel) {
    const std::array<float, 256>& normalised = normalised_[static_cast<size_t>(channel)];
    for (int y = 0; y < height_; ++y, out += width_) {
      const int from_y = y + placement.dy;
      if (from_y < 0 || from_y >= height_) {
        std::fill_n(out, width_, normalised[0]);
        continue;
      }
      std::fill_n(out, first, normalised[0]);
      std::fill(out + last, out + width_, normalised[0]);
      const uint8_t* row = fitted.pixels.data() + static_cast<ptrdiff_t>(from_y) * width_ * 3 + channel;
      for (int x = first; x < last; ++x) out[x] = normalised[row[(x + placement.dx) * 3]];
      if (placement.mirrored) std::reverse(out, out + width_);
    }
  }
}

}  // namespace muster
