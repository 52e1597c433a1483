// What the ranks tell each other of a batch before any similarity: who has how many rows, which identities, what
// weights, and the rows themselves.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "trainer/features.h"
#include "trainer/losses/column_rows.h"
#include "trainer/losses/pair_loss.h"

namespace muster {

// Rows of all ranks on their way to this one.
class GatheringRows {
 public:
  GatheringRows() = default;
  // Rows that are all there are.
  explicit GatheringRows(const at::Tensor& all) : all_(all) {}
  // Collective. `local` is contiguous and stays as it is until wait() returns.
  GatheringRows(const at::Tensor& local, const std::vector<int64_t>& rows, Communicator& communicator,
                const std::string& name);

  // Once: the ranks' rows in rank order; in a world of one the tensor itself. Not collective, but where it blocks is
  // where this rank waits for the others; recorded as "gather".
  at::Tensor wait();

 private:
  at::Tensor all_;
  Work arrival_;
  TraceRecorder* trace_ = nullptr;  // null in a world of one
  int64_t bytes_ = 0;               // of this rank
};

// The same at once. Collective.
at::Tensor gather_rows(const at::Tensor& local, const std::vector<int64_t>& rows, Communicator& communicator,
                       const std::string& name);

// The sums of the ranks' shares, added up in rank order, so that every rank has the same bits and takes the same
// decisions. All NaN unless `finite` on every rank: whatever a loss made of features that are not. Collective.
std::vector<double> sum_shares(const std::vector<double>& shares, bool finite, Communicator& communicator);

struct GlobalBatch {
  std::vector<int64_t> rows;  // of each rank
  PairBatch batch;            // without what belongs to one pair of features
};

// Texts of one pair of features on their way; of sets, the number of rows of each caption of the global batch.
struct GatheringTexts {
  GatheringRows rows;  // where they are too many to gather, this rank's own
  bool gathered = true;
  std::vector<int64_t> sizes;
};

// Starts them; of sets, waits for the sizes, and starts nothing if all words take more than gathered_mib. `rows`: of
// each rank. Collective.
GatheringTexts start_texts(const FeaturePair& pair, const std::vector<int64_t>& rows, int64_t gathered_mib,
                           Communicator& communicator);

// Whether words of so many bytes, of the global batch, are.
inline bool words_are_gathered(int64_t bytes, int64_t gathered_mib) {
  return (bytes + (1 << 20) - 1) >> 20 <= gathered_mib;
}

// Rows of sets, of which `rows` are each rank's, as columns.
ColumnRows rows_of_sets(const std::vector<int64_t>& rows, const std::vector<int64_t>& sizes, int rank);

// A batch whose ranks know how many rows each has, and whose identities and weights are on their way; with `texts`, the
// rows of features that are (LossObjective::begin()), one for each pair of features with terms over pairs.
struct GatheringBatch {
  std::vector<int64_t> rows;  // of each rank
  GatheringRows identity;
  bool weighted = false;
  GatheringRows weight;
  std::vector<GatheringTexts> texts;
};

// Collective; waits for the numbers of rows. `widths`: of the features whose losses follow, the same on every rank.
// CommError if they are not, or if only some ranks have weights; DataError if no rank has a row.
GatheringBatch start_batch(const Labels& labels, const std::vector<int64_t>& widths, Communicator& communicator);

// Waits for identities and weights. DataError if a weight is impossible.
GlobalBatch finish_batch(GatheringBatch& gathering, int rank);

// Both. Collective.
GlobalBatch gather_batch(const Labels& labels, const std::vector<int64_t>& widths, Communicator& communicator);

}  // namespace muster
