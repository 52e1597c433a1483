// Rows as the references see them, in as few dimensions as their products need (refinement.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "trainer/references/refinement.h"

namespace muster {

class ReferenceMap {
 public:
  ReferenceMap(const ReferenceBasis& basis, const RefinementConfig& config, RefinementConfig::Phi phi);

  // Of rows [n,d]: [n,e] such that the product of a text's row t and an image's row g is cos(phi(R t), phi(R g)), t and
  // g of length 1 unless they stand as they are (EmbeddingRows). A row's bits depend on that row alone. ConfigError:
  // another width than the references'.
  at::Tensor second_rows(const EmbeddingRows& rows, bool is_text) const;

 private:
  ReferenceBasis basis_;
  RefinementConfig config_;
  RefinementConfig::Phi phi_;
  at::Tensor gram_;  // R^T R; not for SOFTMAX
};

// Standard deviations over the gallery of each query's products with its rows: sqrt(q^T Cov q).
std::vector<double> score_deviations(const at::Tensor& queries, const at::Tensor& gallery_covariance);

// ConfigError: the rows [n,d] are not of the references' width.
void check_reference_width(const at::Tensor& features, const ReferenceBasis& basis);

}  // namespace muster
