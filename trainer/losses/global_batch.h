// What the ranks tell each other of a batch before any similarity: who has how many rows, which identities, what
// weights.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "trainer/features.h"
#include "trainer/losses/pair_loss.h"

namespace muster {

// The ranks' rows in rank order. In a world of one that is the tensor itself. Collective.
at::Tensor gather_rows(const at::Tensor& local, const std::vector<int64_t>& rows, Communicator& communicator,
                       const std::string& name);

// The sums of the ranks' shares, added up in rank order, so that every rank has the same bits and takes the same
// decisions. All NaN unless `finite` on every rank: whatever a loss made of features that are not. Collective.
std::vector<double> sum_shares(const std::vector<double>& shares, bool finite, Communicator& communicator);

struct GlobalBatch {
  std::vector<int64_t> rows;  // of each rank
  PairBatch batch;            // without what belongs to one pair of features
};

// Collective. `widths`: of the features whose losses follow, the same on every rank. CommError if they are not, or if
// only some ranks have weights; DataError if no rank has a row or a weight is impossible.
GlobalBatch gather_batch(const Labels& labels, const std::vector<int64_t>& widths, Communicator& communicator);

}  // namespace muster
