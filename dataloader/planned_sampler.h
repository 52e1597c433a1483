#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "dataloader/sampler.h"

namespace muster {

// A sampler that lays out whole epochs. Plans are made when their epoch is first asked for, and the last two are kept:
// batches are read ahead over an epoch's end.
class PlannedSampler : public Sampler {
 public:
  int64_t steps_per_epoch() const override { return steps_per_epoch_; }
  int64_t sample(int64_t position) const override;

 protected:
  PlannedSampler(int64_t steps_per_epoch, int64_t global_batch);
  int64_t places() const { return places_; }

 private:
  using Plan = std::vector<int64_t>;
  // The places() samples of an epoch, in order: a pure function of the epoch.
  virtual Plan plan(uint64_t epoch) const = 0;
  std::shared_ptr<const Plan> plan_of(uint64_t epoch) const;

  int64_t steps_per_epoch_;
  int64_t places_;
  struct KnownPlan {
    uint64_t epoch = 0;
    std::shared_ptr<const Plan> plan;
  };
  mutable std::mutex mutex_;
  mutable std::array<KnownPlan, 2> known_;  // of an even and of an odd epoch
};

}  // namespace muster
