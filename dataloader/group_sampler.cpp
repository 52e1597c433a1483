#include "dataloader/group_sampler.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "dataloader/distinct_rounds.h"
#include "dataloader/shuffled_groups.h"

namespace muster {
namespace {

// Cards in one pass over a group.
int64_t cards_of(int64_t count, int64_t samples) {
  return std::max<int64_t>(1, count / samples);
}

std::vector<int64_t> count_cards(const SampleGroups& groups, int64_t samples) {
  std::vector<int64_t> cards;
  for (int64_t group = 0; group < groups.size(); ++group) {
    cards.push_back(cards_of(groups.count(group), samples) * groups.repeats[static_cast<size_t>(group)]);
  }
  return cards;
}

int64_t count_steps(const SampleGroups& groups, int64_t groups_per_batch, int64_t samples) {
  const int64_t steps = most_rounds(count_cards(groups, samples), groups_per_batch);
  if (steps == 0) throw std::logic_error("GroupSampler: fewer groups than a batch needs");
  return steps;
}

}  // namespace

GroupSampler::GroupSampler(SampleGroups groups, int64_t groups_per_batch, int64_t samples, uint64_t seed)
    : PlannedSampler(count_steps(groups, groups_per_batch, samples), groups_per_batch * samples),
      groups_(std::move(groups)),
      groups_per_batch_(groups_per_batch),
      samples_(samples),
      seed_(seed) {}

std::vector<int64_t> GroupSampler::plan(uint64_t epoch) const {
  KeyedRandom random(seed_, epoch, Purpose::kSamplerPlan);
  const std::vector<int64_t> deal = deal_distinct(count_cards(groups_, samples_), groups_per_batch_, random);
  ShuffledGroups shuffled(groups_);
  std::vector<int64_t> used(static_cast<size_t>(groups_.size()));  // cards
  std::vector<int64_t> plan;
  plan.reserve(static_cast<size_t>(places()));
  for (const int64_t group : deal) {
    const int64_t card = used[static_cast<size_t>(group)]++ % cards_of(groups_.count(group), samples_);
    if (card == 0) shuffled.shuffle(group, random);
    for (int64_t i = 0; i < samples_; ++i) {
      plan.push_back(shuffled.at(group, (card * samples_ + i) % groups_.count(group)));
    }
  }
  return plan;
}

}  // namespace muster
