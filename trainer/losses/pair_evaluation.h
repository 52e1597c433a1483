// All pair losses of an objective on one pair of feature matrices, over the ranks: the stripe scheme.
//
// A rank's rows are its own images, its columns the texts of the whole batch, gathered; words too many for that
// travel around a ring, one rank's at a time, once a pass. Row statistics are local, column statistics are combined
// over ranks, the images' gradients are local and the texts' go home: by reduce-scatter, or, of words in losses that
// weigh few pairs, those rows that are not zero by all-to-all. Ranks may have different numbers of rows, none included.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "comm/communicator.h"
#include "trainer/alignment.h"
#include "trainer/losses/global_batch.h"
#include "trainer/losses/pair_loss.h"
#include "trainer/losses/tile_device.h"

namespace muster {

struct PairResult {
  std::vector<double>
      values;          // one a loss, of the global batch: the same bits on every rank; NaN if features are not finite
  at::Tensor d_image;  // [b, d] weighted sum's gradient with respect to the raw rows; without losses undefined
  at::Tensor d_text;   // [b, d]
  bool finite = true;  // this rank's features and the columns
};

// Scores between one pair of features and the losses of another.
struct TaughtScores {
  at::Tensor record;   // [rows, columns] of type T; defined: written, row by row, for others to learn from
  bool finite = true;  // what the losses were given; else their values are NaN, as with features that are not finite
};

// image [b, d] and columns [B, d], the texts of all ranks: raw, contiguous, of type T, where `device` computes.
// Collective. Sets what `global` holds of these features for the losses, until the next evaluation. Afterwards each
// loss knows this rank's share of its parameters' gradients.
template <typename T>
PairResult evaluate_pairs(const at::Tensor& image, const at::Tensor& columns, GlobalBatch& global,
                          const PairLosses<T>& losses, const std::vector<double>& weights, const TaughtScores& taught,
                          const TileShape& shape, const LossDevice& device, Communicator& communicator);

// Words of captions: of all ranks, in rank order, or of this rank alone.
struct SetColumns {
  at::Tensor words;
  bool gathered = true;
};

// The same of sets: image [sum of sizes.image, d], this rank's; sizes.text: of the captions of all ranks, in rank
// order. On the CPU. Losses that need lengths of rows are not for sets (std::logic_error).
template <typename T>
PairResult evaluate_sets(const at::Tensor& image, const SetColumns& columns, const SetSizes& sizes,
                         const Alignment& alignment, GlobalBatch& global, const PairLosses<T>& losses,
                         const std::vector<double>& weights, const TaughtScores& taught, const TileShape& shape,
                         Communicator& communicator);

}  // namespace muster
