#include "trainer/encoders/position_tables.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/upsample_linear1d.h>

#include <vector>

namespace muster {

at::Tensor resize_patch_positions(const at::Tensor& table, PatchGrid from, PatchGrid to, GridFilter filter) {
  const at::NoGradGuard no_grad;
  const int64_t patches = from.rows * from.columns, width = table.size(1);
  // In double: in float, PyTorch's coordinates are off by 1e-5.
  const at::Tensor grid =
      table.narrow(0, 1, patches).to(at::kDouble).view({1, from.rows, from.columns, width}).permute({0, 3, 1, 2});
  const std::vector<int64_t> size = {to.rows, to.columns};
  const at::Tensor resized = filter == GridFilter::kBilinear
                                 ? at::upsample_bilinear2d(grid, size, /*align_corners=*/false)
                                 : at::_upsample_bicubic2d_aa(grid, size, /*align_corners=*/false);
  return at::cat({table.narrow(0, 0, 1), resized.reshape({width, to.rows * to.columns}).t().to(table.scalar_type())});
}

at::Tensor resize_text_positions(const at::Tensor& table, int64_t to) {
  const at::NoGradGuard no_grad;
  const int64_t context = table.size(0);
  const at::Tensor inner = table.narrow(0, 1, context - 2).to(at::kDouble).t().unsqueeze(0);
  const at::Tensor resized = at::upsample_linear1d(inner, {to - 2}, /*align_corners=*/false);
  return at::cat(
      {table.narrow(0, 0, 1), resized.squeeze(0).t().to(table.scalar_type()), table.narrow(0, context - 1, 1)});
}

}  // namespace muster
