#pragma once

#include "dataloader/sampler.h"

namespace muster {

// Consecutive sample numbers that each stand `repeats` times in an epoch.
struct SampleRange {
  int64_t count = 0;
  int64_t repeats = 1;
};

// Every sample once an epoch (or as often as its range says), in an order that is another one each epoch. Those that
// would fill only a part of a global batch are left out, other ones each epoch. O(1) time and memory: no epoch is laid
// out.
class UniformSampler : public Sampler {
 public:
  // The ranges number the samples from 0 on. ConfigError: fewer samples than one global batch.
  UniformSampler(const std::vector<SampleRange>& ranges, int64_t global_batch, uint64_t seed);

  int64_t steps_per_epoch() const override { return steps_per_epoch_; }
  int64_t sample(int64_t position) const override;

 private:
  std::vector<SampleRange> ranges_;
  int64_t entries_;  // of an epoch, before the tail is left out
  int64_t global_batch_;
  uint64_t seed_;
  int64_t steps_per_epoch_;
};

}  // namespace muster
