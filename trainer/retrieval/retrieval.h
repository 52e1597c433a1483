// Exact retrieval over the rows of all ranks, without a queries x gallery matrix.
//
// Scores are cosines in float32, with rows that stand as they are dot products. A score depends on its two rows alone,
// bit for bit: not on the world size, on how rows are cut over ranks, on threads or on the CPU's vector width
// (score_kernel.h). Ties rank the lower gallery index first.
//
// Rows of all ranks together, in rank order, are the global rows; a rank may have any number of them, none included.
// Each rank scores its own texts (top_k(): queries) against everything, so an even cut is the fastest. Memory beyond
// the inputs: some MiB of tiles, some words a positive pair (or a kept hit) of this rank's texts and of 1024 images,
// some words a row of all ranks.
//
// All functions are collective. They throw, on every rank alike, NonFiniteError naming the number of rows that are not
// finite, and DataError for widths that differ between ranks or between queries and gallery.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "comm/communicator.h"
#include "trainer/retrieval/metrics.h"

namespace muster {

struct EmbeddingRows {
  at::Tensor features;       // [n,d] float32, raw: normalised inside; a row of zeros scores 0 with everything
  at::Tensor identity;       // [n] int64; top_k() does not look at it
  bool as_they_are = false;  // not normalised: means of rows of length 1 (identity_means.h); the same on all ranks
};

struct BothDirections {
  RetrievalMetrics text_to_image;
  RetrievalMetrics image_to_text;
};

// The same on every rank, equal bits for any world size. One pass over the scores serves both directions.
BothDirections evaluate_retrieval(const EmbeddingRows& texts, const EmbeddingRows& images, Communicator& communicator);

// Rows whose score with a row of the other side is made of two products, by weights of the one that asks:
// weight[0] * cosine of the features + weight[1] * dot product of the second rows.
struct MixedRows {
  EmbeddingRows rows;
  at::Tensor second;  // [n,e] float32, as they are; e at least 1, the same on all ranks and both sides
  at::Tensor weight;  // [n,2] float32, used where these rows are the queries
};

// As evaluate_retrieval(), for such scores. A score depends on the two rows and the weights alone, bit for bit.
// `top` above 0: only the `top` items of the highest cosines of each query have such scores and are ranked by them; the
// others follow in the order of cosines. That costs one product of all rows instead of two, and beyond the memory above
// up to 2 top + 64 hits of 8 bytes for each of this rank's texts, for each of 1024 images and thread.
BothDirections evaluate_mixed(const MixedRows& texts, const MixedRows& images, int64_t top, Communicator& communicator);

struct TopK {
  at::Tensor index;  // [n, min(k, gallery)] int64, global gallery rows, best first
  at::Tensor score;  // the same shape, float32
};

// For this rank's queries. `k` is at least 1.
TopK top_k(const EmbeddingRows& queries, const EmbeddingRows& gallery, int64_t k, Communicator& communicator);

}  // namespace muster
