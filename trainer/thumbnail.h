// Images small enough for a page with many of them.
#pragma once

#include <cstdint>
#include <vector>

#include "dataloader/store.h"

namespace muster {

inline constexpr int kThumbnailPixels = 320;

// The store's image as JPEG or PNG bytes: as they are where neither side is longer than `pixels`, else shrunk to that
// and encoded anew. DataError: it is damaged.
std::vector<uint8_t> thumbnail(const Store& store, int64_t image, int pixels = kThumbnailPixels);

}  // namespace muster
