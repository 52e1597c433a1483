// Position tables for another input size than the one they were trained for.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace muster {

// Rows and columns of patches.
struct PatchGrid {
  int64_t rows;
  int64_t columns;
};

enum class GridFilter {
  kBilinear,  // no antialiasing: IRRA's and TBPS-CLIP's resize_pos_embed
  kBicubic,   // antialiased: open_clip's resize_pos_embed
};

// [1 + from.rows * from.columns, width] -> [1 + to.rows * to.columns, width]. The first row, the class token's, is
// kept; the others are resized as an image of `width` channels, pixel centres at half integers.
at::Tensor resize_patch_positions(const at::Tensor& table, PatchGrid from, PatchGrid to, GridFilter filter);

// [context, width] -> [to, width], both contexts at least 3. The first and the last row are kept; those between are
// interpolated linearly, centres at half integers: TBPS-CLIP's interpolate_text.
at::Tensor resize_text_positions(const at::Tensor& table, int64_t to);

}  // namespace muster
