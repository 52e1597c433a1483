// Which sample stands at which place of the endless sample stream: a pure function of (seed, position), so nothing is
// saved, a run goes on at any step, and ranks that cut a global batch among them see the batch of a world of one.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dataloader/dataloader.pb.h"

namespace muster {

// Immutable for its callers: any number of threads.
class Sampler {
 public:
  virtual ~Sampler() = default;

  // The same for every epoch, above 0. An epoch is a whole number of global batches.
  virtual int64_t steps_per_epoch() const = 0;
  // position = step * global_batch + place in the global batch, from 0 on without end; the epoch is
  // step / steps_per_epoch(). Gives the number of a sample.
  virtual int64_t sample(int64_t position) const = 0;
};

// Samples that go together, in groups of at least one: the samples of group g are sample[begin[g]] ..
// sample[begin[g + 1] - 1], each of which stands repeats[g] times in an epoch.
struct SampleGroups {
  std::vector<int64_t> begin = {0};
  std::vector<int64_t> sample;
  std::vector<int64_t> repeats;

  int64_t size() const { return static_cast<int64_t>(repeats.size()); }
  int64_t count(int64_t group) const {
    return begin[static_cast<size_t>(group) + 1] - begin[static_cast<size_t>(group)];
  }
};

class SampleList;

// As data.sampler describes it; the source of each rule is in dataloader.proto and the sampler's header. ConfigError:
// fewer samples, identities or images than one global batch needs; identities x samples is not the global batch.
std::unique_ptr<Sampler> make_sampler(const SampleList& samples, const SamplerConfig& config, int64_t global_batch,
                                      uint64_t seed);

}  // namespace muster
