// Matrix products and moments whose bits do not depend on how rows are cut over ranks, on threads or on the CPU's
// vector width: what goes into scores must have the same bits at every world size.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"
#include "trainer/retrieval/global_rows.h"

namespace muster {

// a [n,d] b^T [d,k], float32: each entry one chain of fused multiply-adds, as score_kernel.h's scores.
at::Tensor fixed_product(const at::Tensor& a, const at::Tensor& b);

// rows as cosines see them: of length 1, float32.
at::Tensor unit_matrix(const at::Tensor& features);
at::Tensor unit_matrix(const EmbeddingRows& rows);

// x . (row) summed in double, of each row of a with the same row of b: [n] float64.
at::Tensor row_products(const at::Tensor& a, const at::Tensor& b);

// Covariance [d,d] float32 of the rows of all ranks ([n,d] float32 here, rows[r] of rank r), divided by their number.
// Collective; the same bits on every rank.
at::Tensor covariance(const at::Tensor& local, const std::vector<int64_t>& rows, Communicator& communicator);

}  // namespace muster
