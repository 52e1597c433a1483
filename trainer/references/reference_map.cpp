#include "trainer/references/reference_map.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "launch/error.h"
#include "trainer/retrieval/fixed_product.h"

namespace muster {
namespace {

// R^T R, summed over a few references at a time: chains of float32 stay short.
at::Tensor gram(const at::Tensor& references) {
  constexpr int64_t kSome = 1024;
  at::Tensor sum = at::empty({references.size(1), references.size(1)}, at::kDouble).zero_();
  for (int64_t first = 0; first < references.size(0); first += kSome) {
    const at::Tensor some = references.narrow(0, first, std::min(kSome, references.size(0) - first)).t().contiguous();
    sum.add_(fixed_product(some, some).to(at::kDouble));
  }
  return sum.to(at::kFloat);
}

// Rows times factors, in place.
void scale_rows(const at::Tensor& rows, const std::vector<double>& factors) {
  auto* values = rows.mutable_data_ptr<float>();
  const int64_t width = rows.size(1);
  at::parallel_for(0, rows.size(0), 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* row = values + r * width;
      for (int64_t c = 0; c < width; ++c) {
        row[c] = static_cast<float>(static_cast<double>(row[c]) * factors[static_cast<size_t>(r)]);
      }
    }
  });
}

double inverse_root(double square) {
  return square > 1e-24 ? 1 / std::sqrt(square) : 0;
}

// softmax(row / temperature), then of length 1; in place.
void softmax_rows(const at::Tensor& rows, double temperature) {
  auto* values = rows.mutable_data_ptr<float>();
  const int64_t width = rows.size(1);
  at::parallel_for(0, rows.size(0), 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* row = values + r * width;
      const auto top = static_cast<double>(*std::max_element(row, row + width));
      double squares = 0;
      for (int64_t c = 0; c < width; ++c) {
        const double weight = std::exp((static_cast<double>(row[c]) - top) / temperature);
        squares += weight * weight;
        row[c] = static_cast<float>(weight);
      }
      const double scale = inverse_root(squares);
      for (int64_t c = 0; c < width; ++c) row[c] = static_cast<float>(static_cast<double>(row[c]) * scale);
    }
  });
}

}  // namespace

ReferenceMap::ReferenceMap(const ReferenceBasis& basis, const RefinementConfig& config, RefinementConfig::Phi phi)
    : basis_(basis), config_(config), phi_(phi) {
  if (phi != RefinementConfig::SOFTMAX) gram_ = gram(basis.rows);
}

// C x / sqrt(x^T C x) of a text and x / sqrt(x^T C x) of an image.
at::Tensor ReferenceMap::second_rows(const EmbeddingRows& rows, bool is_text) const {
  check_reference_width(rows.features, basis_);
  at::Tensor x = unit_matrix(rows);
  if (phi_ == RefinementConfig::SOFTMAX) {
    at::Tensor seen = fixed_product(x, basis_.rows);
    softmax_rows(seen, config_.temperature());
    return seen;
  }
  if (phi_ == RefinementConfig::CENTRE) x.sub_(is_text ? basis_.mean_text : basis_.mean_image);
  const at::Tensor mapped = fixed_product(x, gram_);
  const at::Tensor squares = row_products(mapped, x);
  std::vector<double> factors(static_cast<size_t>(x.size(0)));
  std::transform(squares.const_data_ptr<double>(), squares.const_data_ptr<double>() + squares.size(0), factors.begin(),
                 inverse_root);
  at::Tensor second = is_text ? mapped : x;
  scale_rows(second, factors);
  return second;
}

std::vector<double> score_deviations(const at::Tensor& queries, const at::Tensor& gallery_covariance) {
  const at::Tensor squares = row_products(fixed_product(queries, gallery_covariance), queries);
  const auto* square = squares.const_data_ptr<double>();
  std::vector<double> roots;
  for (int64_t r = 0; r < squares.size(0); ++r) roots.push_back(std::sqrt(std::max(square[r], 0.0)));
  return roots;
}

void check_reference_width(const at::Tensor& features, const ReferenceBasis& basis) {
  if (features.size(1) == basis.rows.size(1)) return;
  throw ConfigError(fmt::format(
      "the references are of width {}, the embeddings of width {}; references refine embeddings of the model "
      "that they were trained with",
      basis.rows.size(1), features.size(1)));
}

}  // namespace muster
