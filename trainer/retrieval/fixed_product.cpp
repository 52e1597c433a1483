#include "trainer/retrieval/fixed_product.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "trainer/retrieval/score_kernel.h"

namespace muster {
namespace {

// Up to kGroupRows rows of a, and of b as panels, to the same rows of the product.
void multiply_group(const float* a, int64_t count, const std::vector<float>& panels, int64_t width, int64_t columns,
                    float* product) {
  std::vector<float> rows(static_cast<size_t>(kGroupRows * width));
  std::copy(a, a + count * width, rows.data());
  std::vector<float> tile(static_cast<size_t>(kGroupRows * kPanelRows));
  for (int64_t first = 0; first < columns; first += kPanelRows) {
    score_panel(rows.data(), width, width, panels.data() + first * width, tile.data(), kPanelRows);
    const int64_t some = std::min(kPanelRows, columns - first);
    for (int64_t q = 0; q < count; ++q) {
      std::copy_n(tile.data() + q * kPanelRows, some, product + q * columns + first);
    }
  }
}

}  // namespace

at::Tensor fixed_product(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor left = a.contiguous(), right = b.contiguous();
  const int64_t rows = left.size(0), width = left.size(1), columns = right.size(0);
  const at::Tensor product = at::empty({rows, columns}, at::kFloat);
  std::vector<float> panels(static_cast<size_t>((columns + kPanelRows) * width));
  for (int64_t first = 0; first < columns; first += kPanelRows) {
    pack_panel(right.const_data_ptr<float>() + first * width, width, std::min(kPanelRows, columns - first), width,
               panels.data() + first * width);
  }
  const auto* from = left.const_data_ptr<float>();
  auto* to = product.mutable_data_ptr<float>();
  at::parallel_for(0, (rows + kGroupRows - 1) / kGroupRows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin * kGroupRows; row < std::min(rows, end * kGroupRows); row += kGroupRows) {
      multiply_group(from + row * width, std::min(kGroupRows, rows - row), panels, width, columns, to + row * columns);
    }
  });
  return product;
}

at::Tensor unit_matrix(const at::Tensor& features) {
  return unit_matrix(EmbeddingRows{features, {}});
}

at::Tensor unit_matrix(const EmbeddingRows& from) {
  const UnitRows unit(from, from.features.size(1));
  const at::Tensor made = at::empty({from.features.size(0), from.features.size(1)}, at::kFloat);
  auto* rows = made.mutable_data_ptr<float>();
  at::parallel_for(0, unit.size(), 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) unit.copy(r, rows + r * made.size(1));
  });
  return made;
}

at::Tensor row_products(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor left = a.contiguous(), right = b.contiguous();
  const at::Tensor sums = at::zeros({left.size(0)}, at::kDouble);
  auto* sum = sums.mutable_data_ptr<double>();
  const auto* x = left.const_data_ptr<float>();
  const auto* y = right.const_data_ptr<float>();
  const int64_t width = left.size(1);
  at::parallel_for(0, left.size(0), 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t c = r * width; c < (r + 1) * width; ++c)
        sum[r] += static_cast<double>(x[c]) * static_cast<double>(y[c]);
    }
  });
  return sums;
}

at::Tensor covariance(const at::Tensor& local, const std::vector<int64_t>& rows, Communicator& communicator) {
  RetrievalShape shape;
  shape.width = local.size(1);
  shape.gallery_rows = rows;
  // As second rows: as they are.
  const UnitRows stream({at::empty({local.size(0), 0}, at::kFloat), {}}, 0, local);
  const int64_t width = shape.width;
  const auto total = static_cast<double>(std::max<int64_t>(1, shape.gallery()));
  std::vector<double> mean(static_cast<size_t>(width));
  for_each_gallery_block(stream, shape, communicator, [&](const GalleryBlock& block) {
    for (int64_t r = 0; r < block.count; ++r) {
      for (int64_t c = 0; c < width; ++c)
        mean[static_cast<size_t>(c)] += static_cast<double>(block.rows[r * width + c]);
    }
  });
  for (double& value : mean) value /= total;

  // Each rank sums some columns of the matrix.
  const std::vector<int64_t> shares = split_rows(width, communicator.size());
  int64_t first = 0;
  for (int r = 0; r < communicator.rank(); ++r) first += shares[static_cast<size_t>(r)];
  const int64_t own = shares[static_cast<size_t>(communicator.rank())];
  const at::Tensor sums = at::zeros({own, width}, at::kDouble);
  for_each_gallery_block(stream, shape, communicator, [&](const GalleryBlock& block) {
    const at::Tensor centred = at::empty({width, block.count}, at::kFloat);
    auto* values = centred.mutable_data_ptr<float>();
    at::parallel_for(0, width, 16, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        for (int64_t r = 0; r < block.count; ++r) {
          values[c * block.count + r] =
              static_cast<float>(static_cast<double>(block.rows[r * width + c]) - mean[static_cast<size_t>(c)]);
        }
      }
    });
    sums.add_(fixed_product(centred.narrow(0, first, own), centred).to(at::kDouble));
  });
  return gather_rows(sums.div(total).to(at::kFloat), shares, communicator, "retrieval.covariance");
}

}  // namespace muster
