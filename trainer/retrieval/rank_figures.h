// From the ranks of a query's positives to its figures, and from all queries' figures to the table's.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "trainer/retrieval/metrics.h"

namespace muster {

// Rank of the best positive (0: there is none), average precision, inverse negative penalty, positives among the first
// kFirst items.
inline constexpr int64_t kFigures = 4;
inline constexpr int64_t kFirst = 50;

// row[0 .. kFigures) of one query: ahead[i] is the number of gallery items that beat its i-th positive, in any order;
// sorts them.
void write_figures(std::vector<int64_t>& ahead, double* row);

// figures: [queries, kFigures] float64 of all ranks. Summed in their order, so that the cut over ranks leaves no trace
// in the last bits.
RetrievalMetrics mean_figures(const at::Tensor& figures, int64_t gallery);

}  // namespace muster
