// NDCG@25 of retrieval by relevances of any degree (Carrara et al., 2018, as TERAN has it): gain 2^relevance - 1,
// discount log2(rank + 1), over the best order of the same relevances.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "trainer/retrieval/relevance_file.h"

namespace muster {

inline constexpr int64_t kNdcgItems = 25;

// The best items of each of this rank's texts and images, best first: [n, min(k, items)] int64, rows of the gallery of
// all ranks.
struct BestItems {
  at::Tensor of_texts;
  at::Tensor of_images;
};

// What of a relevance file is evaluated: consecutive captions and images, with how many rows each rank has of them.
struct NdcgScope {
  int64_t first_caption = 0;
  int64_t first_image = 0;
  std::vector<int64_t> caption_rows;  // of each rank
  std::vector<int64_t> image_rows;
};

struct Ndcg {
  double text_to_image = 0;  // 0 .. 1, mean over all captions
  double image_to_text = 0;  // mean over images, without those of 0, as published code has it
};

// Collective, the same on every rank, equal bits for any world size. A rank reads its captions' rows, and all rows for
// its images' columns; memory of one row and of 25 numbers an image.
Ndcg ndcg(const RelevanceFile& file, const BestItems& best, const NdcgScope& scope, Communicator& communicator);

}  // namespace muster
