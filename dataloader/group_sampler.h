#pragma once

#include "dataloader/planned_sampler.h"

namespace muster {

// Batches of `groups` different groups with `samples` samples of each, one group after the other: P x K with identities
// as groups (Hermans et al., 2017, arXiv:1703.07737, section 3; IRRA's datasets/sampler.py), no image twice with images
// as groups and one sample of each.
//
// An epoch: the samples of a group are shuffled and cut into cards of `samples` samples; what is left is left out,
// other ones each epoch. A group with fewer samples has one card, which repeats them as evenly as can be. The cards are
// dealt to batches by deal_distinct(), so the tail is what cannot be dealt without a group twice in a batch: the fewest
// cards possible, chosen at random. (IRRA's sampler draws uniformly without looking ahead, so its epochs leave out more
// and differ in length.)
class GroupSampler : public PlannedSampler {
 public:
  // There must be at least `groups_per_batch` groups, else std::logic_error.
  GroupSampler(SampleGroups groups, int64_t groups_per_batch, int64_t samples, uint64_t seed);

 private:
  std::vector<int64_t> plan(uint64_t epoch) const override;

  SampleGroups groups_;
  int64_t groups_per_batch_;
  int64_t samples_;
  uint64_t seed_;
};

}  // namespace muster
