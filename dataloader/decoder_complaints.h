// What decoders only warn of. libjpeg goes on where it meets damage that leaves it a way on, and gives pixels, as
// Pillow shows them. A picture that is cut off, lacks scans or has a damaged header is never among these. Of a PNG
// every damage is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "dataloader/image.h"

namespace muster {

struct Complaints {
  int count = 0;
  std::string first;  // the library's words
};

// As decode_image(), which ignores them.
Image decode_image(const uint8_t* data, size_t size, const std::string& what, Complaints& complaints);

}  // namespace muster
