#pragma once

#include "dataloader/planned_sampler.h"
#include "dataloader/random.h"

namespace muster {

// SEN's sampler (Neural Networks 184, 2025, 107028; "idrannum" in its repository). A pass: every identity draws k
// uniformly from 1 to min(most_samples, its samples), its shuffled samples are cut into cards of k, a rest is left out;
// then, round by round, `identities` identities drawn uniformly from those with cards left give one card each, until
// fewer are left. The stream of the rounds is cut into global batches without regard to rounds.
//
// SEN's epoch is one pass, whose length is known only when it is drawn. Here an epoch is the longest that k = 1 could
// fill (most_rounds() of distinct_rounds.h x identities, whole batches), and a pass that ends before is followed by
// another one: on CUHK-PEDES by a 60th of one.
class SenSampler : public PlannedSampler {
 public:
  // std::logic_error: the identities cannot fill one batch (see batches()).
  SenSampler(SampleGroups identities, int64_t identities_per_round, int64_t most_samples, int64_t global_batch,
             uint64_t seed);

  // Batches of an epoch, 0 if there are too few identities.
  static int64_t batches(const SampleGroups& identities, int64_t identities_per_round, int64_t global_batch);

 private:
  std::vector<int64_t> plan(uint64_t epoch) const override;
  void append_pass(KeyedRandom& random, std::vector<int64_t>& plan) const;

  SampleGroups identities_;
  int64_t identities_per_round_;
  int64_t most_samples_;
  uint64_t seed_;
};

}  // namespace muster
