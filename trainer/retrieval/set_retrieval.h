// Retrieval whose scores are alignments of an image's regions and a caption's words (trainer/alignment.h), without a
// matrix of captions x images and without one of words x regions.
//
// As retrieval.h: over the rows of all ranks; a score depends on the rows of its two sets alone, bit for bit; ties rank
// the lower index first. The regions of all ranks pass by, a block of images at a time; each rank scores its own
// captions, each pair once for both directions. Memory beyond the inputs: some MiB of tiles, and ranks as retrieval.h
// has them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "trainer/alignment.h"
#include "trainer/retrieval/ndcg.h"
#include "trainer/retrieval/retrieval.h"

namespace muster {

struct EmbeddingSets {
  at::Tensor features;         // [sum of sizes, d] float32, raw: normalised inside, on the CPU
  std::vector<int64_t> sizes;  // [n]: rows of each image (1 to kMostRegions) or caption (0 or more)
  at::Tensor identity;         // [n] int64
};

inline constexpr int64_t kMostRegions = 1024;

// Collective, the same on every rank. Alignment::floor_at_zero is for all captions here, as published code pads them
// all. `best`: gets the kNdcgItems best items of this rank's texts and images; null: not wanted. Errors as retrieval.h;
// std::logic_error: sizes that are not the features'.
BothDirections evaluate_sets(const EmbeddingSets& texts, const EmbeddingSets& images, const Alignment& alignment,
                             Communicator& communicator, BestItems* best = nullptr);

}  // namespace muster
