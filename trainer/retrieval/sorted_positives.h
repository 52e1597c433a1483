// The positives of one query where they are so many that each gallery item looks for its place among them, instead of
// each positive counting who beats it.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace muster {

// From this many positives on.
inline constexpr int64_t kLongList = 256;

class SortedPositives {
 public:
  // scores[k] of the positive gallery items items[k], which ascend.
  SortedPositives(const std::vector<float>& scores, const uint32_t* items);

  // Places the gallery items first_item .. first_item + count - 1: scores[i * stride]. Any thread.
  void place(const float* scores, int64_t stride, int64_t first_item, int64_t count);

  // ahead[k]: how many of the placed items beat the k-th best positive.
  void write_ahead(int64_t* ahead) const;

 private:
  struct Positive {
    float score;
    uint32_t item;
  };

  std::vector<Positive> best_first_;
  std::vector<std::atomic<uint32_t>> placed_;  // items that beat this positive and none before it
};

}  // namespace muster
