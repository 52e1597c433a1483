// Changes of colour, equal bit for bit to torchvision's on PIL images (torchvision/transforms/_functional_pil.py),
// which are Pillow's ImageEnhance (src/PIL/ImageEnhance.py, src/libImaging/Blend.c) and conversions
// (src/libImaging/Convert.c).
#pragma once

#include "dataloader/image.h"

namespace muster {

// Blends of 0: black, the mean grey, the grey image; 1: the image itself. Above 1 away from them, clipped.
void adjust_brightness(Image& image, double factor);
void adjust_contrast(Image& image, double factor);
void adjust_saturation(Image& image, double factor);
// Turns the hue by `turn` of the circle, -0.5 to 0.5, through Pillow's 8-bit HSV.
void adjust_hue(Image& image, double turn);
// R = G = B = ITU-R 601-2 luma, as convert("L").
void make_grey(Image& image);

}  // namespace muster
