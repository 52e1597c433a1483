// Sizes of pictures that are not there themselves.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace muster {

struct PictureSize {
  int32_t width = 0, height = 0;  // in pixels; 0: not known
};

// By id, from COCO annotation files, whose list "images" gives id, width, height; the last of several wins. DataError,
// with the place: no such list, sizes that are no whole numbers above 0.
using PictureSizes = std::unordered_map<std::string, PictureSize>;
PictureSizes read_picture_sizes(const std::vector<std::string>& files);

}  // namespace muster
