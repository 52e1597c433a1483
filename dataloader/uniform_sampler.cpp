#include "dataloader/uniform_sampler.h"

#include <fmt/format.h>

#include "dataloader/permutation.h"
#include "launch/error.h"

namespace muster {

UniformSampler::UniformSampler(const std::vector<SampleRange>& ranges, int64_t global_batch, uint64_t seed)
    : ranges_(ranges), entries_(0), global_batch_(global_batch), seed_(seed), steps_per_epoch_(0) {
  for (const SampleRange& range : ranges) entries_ += range.count * range.repeats;
  if (entries_ < global_batch) {
    throw ConfigError(fmt::format(
        "there are {} training samples, fewer than train.global_batch = {}: {}", entries_, global_batch,
        entries_ < 2 ? "import more" : fmt::format("lower it, --set train.global_batch={} or less", entries_)));
  }
  steps_per_epoch_ = entries_ / global_batch;
}

int64_t UniformSampler::sample(int64_t position) const {
  const int64_t places = steps_per_epoch_ * global_batch_;
  const auto epoch = static_cast<uint64_t>(position / places);
  int64_t entry = Permutation(entries_, seed_, epoch)(position % places);
  int64_t first = 0;
  for (const SampleRange& range : ranges_) {
    if (entry < range.count * range.repeats) return first + entry % range.count;
    entry -= range.count * range.repeats;
    first += range.count;
  }
  return first;  // not reached: the permutation stays below entries_
}

}  // namespace muster
