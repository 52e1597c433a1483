#include "dataloader/sen_sampler.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "dataloader/distinct_rounds.h"
#include "dataloader/shuffled_groups.h"

namespace muster {
namespace {

int64_t at_least_one(int64_t batches) {
  if (batches == 0) throw std::logic_error("SenSampler: the identities cannot fill one batch");
  return batches;
}

// What is left of an identity in a pass.
struct Hand {
  int64_t group = 0;
  int64_t card_size = 0;
  int64_t cards = 0;
  int64_t used = 0;  // cards
};

}  // namespace

int64_t SenSampler::batches(const SampleGroups& identities, int64_t identities_per_round, int64_t global_batch) {
  std::vector<int64_t> samples;
  for (int64_t group = 0; group < identities.size(); ++group) {
    samples.push_back(identities.count(group) * identities.repeats[static_cast<size_t>(group)]);
  }
  return most_rounds(samples, identities_per_round) * identities_per_round / global_batch;
}

SenSampler::SenSampler(SampleGroups identities, int64_t identities_per_round, int64_t most_samples,
                       int64_t global_batch, uint64_t seed)
    : PlannedSampler(at_least_one(batches(identities, identities_per_round, global_batch)), global_batch),
      identities_(std::move(identities)),
      identities_per_round_(identities_per_round),
      most_samples_(most_samples),
      seed_(seed) {}

std::vector<int64_t> SenSampler::plan(uint64_t epoch) const {
  KeyedRandom random(seed_, epoch, Purpose::kSamplerPlan);
  std::vector<int64_t> plan;
  while (static_cast<int64_t>(plan.size()) < places()) append_pass(random, plan);
  plan.resize(static_cast<size_t>(places()));
  return plan;
}

void SenSampler::append_pass(KeyedRandom& random, std::vector<int64_t>& plan) const {
  std::vector<Hand> hands;
  for (int64_t group = 0; group < identities_.size(); ++group) {
    const int64_t count = identities_.count(group);
    const auto most = static_cast<uint64_t>(std::min(most_samples_, count));
    const auto card_size = static_cast<int64_t>(1 + random.next_below(most));
    hands.push_back({group, card_size, count / card_size * identities_.repeats[static_cast<size_t>(group)], 0});
  }
  ShuffledGroups shuffled(identities_);
  const auto width = static_cast<size_t>(identities_per_round_);
  while (hands.size() >= width && static_cast<int64_t>(plan.size()) < places()) {
    for (size_t i = 0; i < width; ++i) {
      std::swap(hands[i], hands[i + random.next_below(hands.size() - i)]);
      Hand& hand = hands[i];
      const int64_t card = hand.used++ % (identities_.count(hand.group) / hand.card_size);
      if (card == 0) shuffled.shuffle(hand.group, random);
      for (int64_t j = 0; j < hand.card_size; ++j) {
        plan.push_back(shuffled.at(hand.group, card * hand.card_size + j));
      }
    }
    for (size_t i = width; i-- > 0;) {
      if (hands[i].used < hands[i].cards) continue;
      hands[i] = hands.back();
      hands.pop_back();
    }
  }
}

}  // namespace muster
