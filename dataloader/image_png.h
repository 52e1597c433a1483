// PNG bytes to pixels: one of the two formats behind decode_image().
#pragma once

#include <string>

#include "dataloader/image.h"

namespace muster {

bool is_png(const uint8_t* data, size_t size);

// As decode_image(); the bytes start as a PNG does.
Image decode_png(const uint8_t* data, size_t size, const std::string& what);

}  // namespace muster
