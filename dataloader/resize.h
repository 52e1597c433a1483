// Pillow's antialiased resize (Image.resize with BICUBIC or BILINEAR), equal to it bit for bit: pre-trained weights
// expect its pixels. Source of the algorithm: Pillow's src/libImaging/Resample.c, the 8 bits per channel path: a
// horizontal and then a vertical pass, each with 22-bit fixed-point coefficients and rounding to 8 bits.
#pragma once

#include "dataloader/image.h"

namespace muster {

enum class Filter { kBicubic, kBilinear };

// A part of an image, in its pixels.
struct Window {
  int x = 0;
  int y = 0;
  int width = 0;
  int height = 0;
};

// `window` of what the image would be if resized to width x height. Only the window is computed. Sizes are positive,
// the window lies inside; else std::logic_error.
Image resize(const Image& image, int width, int height, Filter filter, const Window& window);

// The whole of it.
Image resize(const Image& image, int width, int height, Filter filter);

}  // namespace muster
