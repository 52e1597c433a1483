#include "trainer/thumbnail.h"

#include <algorithm>
#include <cmath>

#include "dataloader/image.h"
#include "dataloader/resize.h"

namespace muster {

std::vector<uint8_t> thumbnail(const Store& store, int64_t image, int pixels) {
  std::vector<uint8_t> bytes = store.image_bytes(image);
  const int32_t longer = std::max(store.width(image), store.height(image));
  if (longer <= pixels) return bytes;
  const Image whole = decode_image(bytes.data(), bytes.size(), store.source_path(image));
  const double scale = static_cast<double>(pixels) / std::max(whole.width, whole.height);
  const auto shrunk = [&](int side) { return std::max(1, static_cast<int>(std::lround(side * scale))); };
  return encode_jpeg(resize(whole, shrunk(whole.width), shrunk(whole.height), Filter::kBicubic), 85);
}

}  // namespace muster
