#include "trainer/retrieval/sorted_positives.h"

#include <algorithm>

namespace muster {

SortedPositives::SortedPositives(const std::vector<float>& scores, const uint32_t* items) : placed_(scores.size()) {
  best_first_.reserve(scores.size());
  for (size_t k = 0; k < scores.size(); ++k) best_first_.push_back({scores[k], items[k]});
  std::sort(best_first_.begin(), best_first_.end(), [](const Positive& a, const Positive& b) {
    return a.score > b.score || (a.score == b.score && a.item < b.item);
  });
}

void SortedPositives::place(const float* scores, int64_t stride, int64_t first_item, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float score = scores[i * stride];
    const int64_t item = first_item + i;
    const auto beaten = std::partition_point(best_first_.begin(), best_first_.end(), [&](const Positive& positive) {
      return positive.score > score || (positive.score == score && static_cast<int64_t>(positive.item) <= item);
    });
    if (beaten == best_first_.end()) continue;
    placed_[static_cast<size_t>(beaten - best_first_.begin())].fetch_add(1, std::memory_order_relaxed);
  }
}

void SortedPositives::write_ahead(int64_t* ahead) const {
  int64_t sum = 0;
  for (const std::atomic<uint32_t>& placed : placed_) *ahead++ = sum += placed.load(std::memory_order_relaxed);
}

}  // namespace muster
