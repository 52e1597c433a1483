// The other direction of RowTops: each row of a gallery block as a query, all ranks' queries as its gallery.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "trainer/retrieval/best_hits.h"
#include "trainer/retrieval/global_rows.h"
#include "trainer/retrieval/score_rule.h"

namespace muster {

// One block. Memory: up to 2k + 64 hits of 8 bytes a column and thread, k a column and rank.
class ColumnTops {
 public:
  // query_rows: of each rank.
  ColumnTops(const GalleryBlock& block, int64_t k, const std::vector<int64_t>& query_rows, int my_rank);

  // Plain scores of `count` consecutive queries of this rank: scores[q * kScoreStride + r]. One thread a worker; a
  // worker's queries ascend.
  void consider(int worker, int64_t first_query, int64_t count, const float* scores);

  // Collective: from the plain scores of all ranks to the k best of each column in the order of their mixed scores.
  // `queries` (this rank's) and the block's rows have second rows.
  void mix(const UnitRows& queries, const ScoreRule& rule, Communicator& communicator);

  // Collective: the k best of each column of all ranks by their plain scores, in place of mix().
  void finish(Communicator& communicator);

  const std::vector<Hit>& best_first(int64_t column) const { return hits_[static_cast<size_t>(column)]; }

 private:
  struct Worker {
    std::vector<float> thresholds;
    std::vector<BestHits> best;
  };
  void join_workers();
  void join_ranks(Communicator& communicator);
  void add_seconds(const UnitRows& queries, std::vector<float>& seconds) const;
  // Hits of each column on a rank, and of all ranks together.
  int64_t hits_of_rank(size_t rank) const { return std::min(k_, query_rows_[rank]); }

  const GalleryBlock& block_;
  int64_t k_;
  const std::vector<int64_t>& query_rows_;
  int64_t my_first_;
  std::vector<Worker> workers_;
  std::vector<std::vector<Hit>> hits_;
};

}  // namespace muster
