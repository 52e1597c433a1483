// The best hits of one query, kept while its scores pass by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "trainer/retrieval/positive_index.h"

namespace muster {

struct Hit {
  float score;
  uint32_t item;
};

// By a higher score, or an equal one and a lower index.
inline bool better(const Hit& a, const Hit& b) {
  return a.score > b.score || (a.score == b.score && a.item < b.item);
}

// Cuts to the k best, in no order.
void keep_best(std::vector<Hit>& hits, size_t k);

class BestHits {
 public:
  // At least 1.
  explicit BestHits(size_t k) : k_(k) {}

  // A hit that does not exceed this is not among the best. Rises.
  float threshold() const { return threshold_; }

  // Items in ascending order.
  void add(float score, uint32_t item) {
    if (!(score > threshold_)) return;
    scores_.push_back(score);
    items_.push_back(item);
    if (scores_.size() >= 2 * k_ + kSpare) cut();
  }

  // The k best of what was added (fewer, if fewer were), items ascending; this is empty then.
  std::vector<Hit> take();

 private:
  static constexpr size_t kSpare = 64;
  void cut();

  size_t k_;
  float threshold_ = -std::numeric_limits<float>::infinity();
  std::vector<float> scores_;
  std::vector<uint32_t> items_;  // ascending
};

// What the first k = best_first.size() hits of a query become when only they are put into another order: `ahead`, of
// its positives in any order the number of items that beat each, counts the old order. Those of k and more stay.
void reorder_best(const std::vector<Hit>& best_first, const PositiveIndex::Span& positives,
                  std::vector<int64_t>& ahead);

}  // namespace muster
