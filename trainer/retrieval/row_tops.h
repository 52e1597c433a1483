// The k best items of each of this rank's queries by plain scores, and their order by mixed ones.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/retrieval/best_hits.h"
#include "trainer/retrieval/global_rows.h"
#include "trainer/retrieval/score_rule.h"

namespace muster {

// Memory: up to 2k + 64 hits of 8 bytes a query.
class RowTops {
 public:
  RowTops(int64_t queries, int64_t k);

  // Each query and block once, blocks in order: plain scores[r] of the block's rows. One thread a query.
  void consider(int64_t query, const float* scores, const GalleryBlock& block);

  // Once, when all blocks have passed.
  void end_considering();

  // Each block once, in order: the hits in it get their mixed scores. `queries` and the block's rows have second rows.
  void mix(const UnitRows& queries, const GalleryBlock& block, const ScoreRule& rule);

  // Once in the end.
  void sort();

  const std::vector<Hit>& best_first(int64_t query) const { return hits_[static_cast<size_t>(query)]; }

 private:
  std::vector<BestHits> best_;
  std::vector<std::vector<Hit>> hits_;  // ascending items while being mixed
  std::vector<size_t> mixed_;           // how many of them are
};

}  // namespace muster
