#include "dataloader/planned_sampler.h"

namespace muster {

PlannedSampler::PlannedSampler(int64_t steps_per_epoch, int64_t global_batch)
    : steps_per_epoch_(steps_per_epoch), places_(steps_per_epoch * global_batch) {}

int64_t PlannedSampler::sample(int64_t position) const {
  const std::shared_ptr<const Plan> plan = plan_of(static_cast<uint64_t>(position / places_));
  return (*plan)[static_cast<size_t>(position % places_)];
}

std::shared_ptr<const PlannedSampler::Plan> PlannedSampler::plan_of(uint64_t epoch) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  KnownPlan& known = known_[epoch % known_.size()];
  if (!known.plan || known.epoch != epoch) known = {epoch, std::make_shared<const Plan>(plan(epoch))};
  return known.plan;
}

}  // namespace muster
