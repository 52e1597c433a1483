#include "trainer/retrieval/best_hits.h"

#include <algorithm>

#include "trainer/retrieval/score_kernel.h"

namespace muster {

void keep_best(std::vector<Hit>& hits, size_t k) {
  if (hits.size() <= k) return;
  std::nth_element(hits.begin(), hits.begin() + static_cast<std::ptrdiff_t>(k), hits.end(), better);
  hits.resize(k);
}

// An item that comes later and only equals the worst of k loses to it.
void BestHits::cut() {
  if (scores_.size() <= k_) return;
  const auto count = static_cast<int64_t>(scores_.size()), k = static_cast<int64_t>(k_);
  threshold_ = kth_greatest(scores_.data(), count, k);
  const int64_t equal = k - count_greater(scores_.data(), count, threshold_);
  keep_at_least(scores_.data(), items_.data(), count, threshold_, equal);
  scores_.resize(k_);
  items_.resize(k_);
}

std::vector<Hit> BestHits::take() {
  cut();
  std::vector<Hit> hits;
  hits.reserve(scores_.size());
  for (size_t i = 0; i < scores_.size(); ++i) hits.push_back({scores_[i], items_[i]});
  scores_ = {};
  items_ = {};
  return hits;
}

void reorder_best(const std::vector<Hit>& best_first, const PositiveIndex::Span& positives,
                  std::vector<int64_t>& ahead) {
  const auto k = static_cast<int64_t>(best_first.size());
  ahead.erase(std::remove_if(ahead.begin(), ahead.end(), [k](int64_t count) { return count < k; }), ahead.end());
  for (int64_t place = 0; place < k; ++place) {
    const uint32_t item = best_first[static_cast<size_t>(place)].item;
    if (std::binary_search(positives.begin(), positives.end(), item)) ahead.push_back(place);
  }
}

}  // namespace muster
