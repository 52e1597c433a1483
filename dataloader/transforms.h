// An image to the model's input, as dataloader.proto describes it: resized crop or fit, colour jitter, grey, pad-crop,
// flip, normalise, erasing.
#pragma once

#include <array>
#include <cstdint>

#include "dataloader/color_jitter.h"
#include "dataloader/dataloader.pb.h"
#include "dataloader/image.h"
#include "dataloader/resize.h"

namespace muster {

// What normalises each channel: the config's, or CLIP's. ConfigError: not 0 or 3 of them.
std::array<float, 3> channel_means(const ImageTransformConfig& config);
std::array<float, 3> channel_deviations(const ImageTransformConfig& config);

// Immutable: any number of threads may share it.
class ImageTransform {
 public:
  // width and height are the model's. ConfigError: not 0 or 3 means, stds and erasing values, a std that is not
  // positive, a pad_crop that could hide the whole image.
  ImageTransform(const ImageTransformConfig& config, int width, int height);

  int width() const { return width_; }
  int height() const { return height_; }
  int64_t floats() const { return int64_t{3} * height_ * width_; }  // of one image

  // Write [3, height, width]. Values are torchvision's: (pixel / 255 - mean) / std in float32. The random choices of
  // train() are a function of (seed, position) only, and each augmentation has numbers of its own: switching one on
  // leaves the others as they were. DataError: far too long and thin to be cropped.
  void train(const Image& image, uint64_t seed, uint64_t position, float* out) const;
  void evaluate(const Image& image, float* out) const;

  // Back from [3, height, width] to pixels, rounded; what lies beyond black and white is these.
  Image to_image(const float* values) const;

 private:
  struct Placement {
    int dx = 0;  // the output's left upper corner on the fitted image, negative: outside of it
    int dy = 0;
    bool mirrored = false;
  };

  Image fit(const Image& image) const;
  // The image or a random part of it, at the model's size and with its colours changed.
  Image augment(const Image& image, uint64_t seed, uint64_t position) const;
  void write(const Image& fitted, const Placement& placement, float* out) const;
  void erase(uint64_t seed, uint64_t position, float* out) const;

  int width_;
  int height_;
  Filter filter_;
  bool crop_center_;
  bool flip_;
  int pad_;
  double grey_;
  ResizedCropConfig resized_crop_;
  ErasingConfig erasing_;
  ColorJitter color_jitter_;
  std::array<std::array<float, 256>, 3> normalised_;  // by channel and 8-bit value
};

}  // namespace muster
