// The best hits of chosen queries, on every rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "trainer/retrieval/retrieval.h"

namespace muster {

struct Ranking {
  std::vector<int64_t> queries;  // rows of the whole query side
  at::Tensor index;              // [queries, k] int64, rows of the whole gallery, best first
  at::Tensor score;              // [queries, k] float32
};

// Collective. `queries` and `gallery` are this rank's rows, cut by slice_of(); `chosen` are ascending rows of the
// whole query side, which has `total_queries`. Each rank ranks those that it holds.
Ranking rank_queries(const std::vector<int64_t>& chosen, const EmbeddingRows& queries, int64_t total_queries,
                     const EmbeddingRows& gallery, int64_t k, Communicator& communicator);

// 0 .. total-1: all of them.
std::vector<int64_t> all_rows(int64_t total);

}  // namespace muster
