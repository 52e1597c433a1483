// A loss over all pairs of images and texts: the plug-in that each loss's file fills in. No torch here: pointers in,
// pointers out.
//
// Rows are this rank's anchors (images), columns the global batch (texts); s is the cosine of a pair. The order of an
// evaluation:
//
//   begin                     once
//   fold, merge               pass 1: for each tile of cosines
//   rebase                    once: column maxima are now those of all ranks
//   visit_positive            once for each positive pair: column sums and indices are now those of all ranks
//   finish                    once: column sums over positives are now those of all ranks
//   weigh, merge_weights      pass 2: for each tile again
//
// Every sum has a fixed order that does not depend on the number of threads: rows within a block, blocks within a tile,
// tiles with columns outermost; columns of several ranks may come in another order on each rank.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "trainer/losses/tile_loss.h"

namespace muster {

// Less than any cosine, or any score of sets: the maximum of nothing. Exact in float.
constexpr double kNoCosine = -0x1p100;
constexpr int64_t kNoIndex = std::numeric_limits<int64_t>::max();

// A partition of the global batch: positives are pairs with equal codes.
struct Groups {
  std::vector<int32_t> code;   // [columns]
  std::vector<int32_t> count;  // [columns] how many columns share the code
};

// The codes of a tile program's part (tile_program.h): of columns those of `groups`, of rows those from `offset` on.
template <typename Part>
void take_codes(Part& part, const Groups& groups, int64_t offset) {
  part.row_codes = groups.code.data() + offset;
  part.column_codes = groups.code.data();
}

struct PairBatch {
  int64_t rows = 0;     // of this rank
  int64_t columns = 0;  // the global batch
  int64_t offset = 0;   // local row i belongs together with column offset + i
  Groups pairs;         // every column alone
  Groups identities;

  std::vector<double> weight;  // [columns] of the sample as an anchor, 0 or more
  double weight_sum = 0;       // what a mean divides by; 1 if all weights are 0

  // Where a loss needs them.
  std::vector<double> row_norm;     // [rows] of the raw rows; 0 for those that count as zero
  std::vector<double> column_norm;  // [columns]
  std::vector<double> pair_cosine;  // [columns] of each column with its row
};

// A row of this rank, a column of the global batch, and what weigh() gives them.
struct WeighedPair {
  int64_t row;
  int64_t column;
  double weight;
};

// What a loss wants of the engine: how many arrays of [columns] combined over ranks by maximum, by sum, by minimum;
// PairBatch::row_norm and column_norm; PairBatch::pair_cosine; whether it has gradients of the rows' lengths; how many
// arrays of [columns] that are summed over positives (more than 0: visit_positive() is called) and then over ranks; the
// scores of another pair of features; whether it weighs a few pairs alone, at most three a sample, which list_pairs()
// names.
struct PairNeeds {
  int maxima = 0;
  int sums = 0;
  int indices = 0;
  bool norms = false;
  bool pair_cosine = false;
  bool norm_gradient = false;
  int positive_sums = 0;
  bool teacher = false;
  bool few_pairs = false;
};

// Those arrays, owned by the engine. They start as kNoCosine, 0 and kNoIndex.
struct ColumnStatistics {
  std::vector<double*> maxima;
  std::vector<double*> sums;
  std::vector<int64_t*> indices;
  std::vector<double*> positive_sums;
};

template <typename T>
class PairLoss : public TileLoss<T> {
 public:
  virtual PairNeeds needs() const = 0;

  // Before begin(), of a loss that needs them: another pair's scores [rows, columns] of this rank, which outlive it.
  virtual void take_teacher(const T* /*scores*/) {}

  // Both outlive the loss.
  virtual void begin(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape) = 0;

  // The maxima are now those of all ranks; `local` holds what this rank had. Puts sums and indices on the new footing.
  virtual void rebase(const std::vector<const double*>& /*local*/) {}

  // One of this rank's rows and a column of the same identity, once each.
  virtual void visit_positive(int64_t /*row*/, int64_t /*column*/, double /*cosine*/) {}

  // Statistics are complete. Returns this rank's share of the loss: its own rows and columns as anchors.
  // `weight` multiplies everything weigh() and the gradients below give, not the value.
  virtual double finish(double weight) = 0;

  // After finish(), of a loss that says so: each own sample's part [rows], as an anchor of both directions, unweighted.
  virtual std::vector<double> sample_losses() const { return {}; }

  // After finish(), of a loss of few pairs: appends those of this rank's rows, each perhaps in parts.
  virtual void list_pairs(std::vector<WeighedPair>& /*pairs*/) const {}

  // Once all blocks are weighed: this rank's shares of d (weight * loss) / d log(scale) and / d bias, and what is added
  // for d / d length of the raw rows [rows] and columns [columns] beside their directions.
  virtual double scale_gradient() const { return 0; }
  virtual double bias_gradient() const { return 0; }
  virtual void add_norm_gradients(double* /*rows*/, double* /*columns*/) const {}
};

template <typename T>
using PairLosses = std::vector<std::unique_ptr<PairLoss<T>>>;

}  // namespace muster
