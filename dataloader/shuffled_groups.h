#pragma once

#include <utility>

#include "dataloader/random.h"
#include "dataloader/sampler.h"

namespace muster {

// The samples of groups in an order that is drawn group by group.
class ShuffledGroups {
 public:
  // `groups` must outlive it.
  explicit ShuffledGroups(const SampleGroups& groups) : groups_(groups), samples_(groups.sample) {}

  void shuffle(int64_t group, KeyedRandom& random) {
    for (int64_t left = groups_.count(group); left > 1; --left) {
      const auto drawn = static_cast<int64_t>(random.next_below(static_cast<uint64_t>(left)));
      std::swap(place(group, drawn), place(group, left - 1));
    }
  }
  int64_t at(int64_t group, int64_t index) { return place(group, index); }

 private:
  int64_t& place(int64_t group, int64_t index) {
    return samples_[static_cast<size_t>(groups_.begin[static_cast<size_t>(group)] + index)];
  }

  const SampleGroups& groups_;
  std::vector<int64_t> samples_;
};

}  // namespace muster
