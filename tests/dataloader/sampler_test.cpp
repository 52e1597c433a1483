#include "dataloader/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "dataloader/group_sampler.h"
#include "dataloader/random.h"
#include "dataloader/sen_sampler.h"
#include "dataloader/uniform_sampler.h"
#include "launch/error.h"

namespace muster {
namespace {

using Samples = std::vector<int64_t>;

// Groups with so many samples each, numbered one after the other.
SampleGroups groups_of(const std::vector<int64_t>& counts, int64_t repeats = 1) {
  SampleGroups groups;
  for (const int64_t count : counts) {
    for (int64_t i = 0; i < count; ++i) groups.sample.push_back(static_cast<int64_t>(groups.sample.size()));
    groups.begin.push_back(static_cast<int64_t>(groups.sample.size()));
    groups.repeats.push_back(repeats);
  }
  return groups;
}

std::vector<int64_t> group_of_samples(const std::vector<int64_t>& counts) {
  std::vector<int64_t> group;
  for (size_t g = 0; g < counts.size(); ++g)
    group.insert(group.end(), static_cast<size_t>(counts[g]), static_cast<int64_t>(g));
  return group;
}

// Even numbers of captions, 4 to 8 an identity.
std::vector<int64_t> person_counts(int64_t identities) {
  std::vector<int64_t> counts;
  KeyedRandom random(1, 0, Purpose::kSynth);
  for (int64_t i = 0; i < identities; ++i) counts.push_back(4 + 2 * static_cast<int64_t>(random.next_below(3)));
  return counts;
}

Samples take(const Sampler& sampler, int64_t first, int64_t count) {
  Samples values;
  for (int64_t position = first; position < first + count; ++position) values.push_back(sampler.sample(position));
  return values;
}

std::map<int64_t, int> count_each(const Samples& samples) {
  std::map<int64_t, int> times;
  for (const int64_t sample : samples) ++times[sample];
  return times;
}

TEST(UniformSampler, AnEpochHasEachSampleAtMostOnceAndDropsLessThanABatch) {
  const UniformSampler sampler({{103, 1}}, 10, 5);
  EXPECT_EQ(sampler.steps_per_epoch(), 10);
  std::set<int64_t> left_out;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    const std::map<int64_t, int> times = count_each(take(sampler, epoch * 100, 100));
    EXPECT_EQ(times.size(), 100U);
    for (int64_t sample = 0; sample < 103; ++sample) {
      if (times.count(sample) == 0) left_out.insert(sample);
    }
  }
  EXPECT_GT(left_out.size(), 3U);  // other ones each epoch
}

TEST(UniformSampler, EpochsAndSeedsHaveOrdersOfTheirOwn) {
  const UniformSampler sampler({{100, 1}}, 10, 5);
  EXPECT_NE(take(sampler, 0, 100), take(sampler, 100, 100));
  EXPECT_NE(take(sampler, 0, 100), take(UniformSampler({{100, 1}}, 10, 6), 0, 100));
  EXPECT_EQ(take(sampler, 0, 100), take(UniformSampler({{100, 1}}, 10, 5), 0, 100));
}

TEST(UniformSampler, RangesStandAsOftenAsTheySay) {
  const UniformSampler sampler({{7, 3}, {0, 5}, {10, 1}, {2, 2}}, 5, 5);
  ASSERT_EQ(sampler.steps_per_epoch(), 7);
  const std::map<int64_t, int> times = count_each(take(sampler, 35, 35));
  ASSERT_EQ(times.size(), 19U);
  for (const auto& [sample, count] : times) EXPECT_EQ(count, sample < 7 ? 3 : sample < 17 ? 1 : 2) << sample;
}

TEST(UniformSampler, SaysThatThereAreTooFewSamples) {
  try {
    UniformSampler({{99, 1}}, 100, 0);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "there are 99 training samples, fewer than train.global_batch = 100: lower it, --set "
                 "train.global_batch=99 or less");
  }
  EXPECT_EQ(UniformSampler({{99, 1}}, 99, 0).steps_per_epoch(), 1);
}

TEST(GroupSampler, BatchesAreIdentitiesTimesSamples) {
  const std::vector<int64_t> counts = {1, 2, 3, 4, 5, 6, 7, 8, 9, 30, 4, 4};
  const std::vector<int64_t> group = group_of_samples(counts);
  const GroupSampler sampler(groups_of(counts), 4, 3, 9);
  // Cards of 3: 1 1 1 1 1 2 2 2 3 10 1 1. Five rounds of 4 can use 21 of them, six only 22 of the 24 they need.
  ASSERT_EQ(sampler.steps_per_epoch(), 5);
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    const Samples samples = take(sampler, epoch * 60, 60);
    for (size_t at = 0; at < samples.size(); at += 12) {
      std::set<int64_t> identities;
      for (size_t i = 0; i < 12; ++i) {
        const int64_t identity = group[static_cast<size_t>(samples[at + i])];
        ASSERT_EQ(identity, group[static_cast<size_t>(samples[at + i - i % 3])]);
        identities.insert(identity);
      }
      ASSERT_EQ(identities.size(), 4U);
    }
    for (const auto& [sample, times] : count_each(samples)) {
      const int64_t count = counts[static_cast<size_t>(group[static_cast<size_t>(sample)])];
      ASSERT_LE(times, count == 1 ? 3 : count == 2 ? 2 : 1) << sample;
    }
  }
}

TEST(GroupSampler, AnEpochLeavesOutAsLittleAsItCanAndOtherSamplesEachTime) {
  const std::vector<int64_t> counts(50, 9);
  const GroupSampler sampler(groups_of(counts), 8, 4, 1);
  ASSERT_EQ(sampler.steps_per_epoch(), 50 * 2 / 8);
  std::set<int64_t> seen;
  for (int64_t epoch = 0; epoch < 8; ++epoch) {
    const std::map<int64_t, int> times = count_each(take(sampler, epoch * 384, 384));
    EXPECT_EQ(times.size(), 384U);
    for (const auto& sample : times) seen.insert(sample.first);
  }
  EXPECT_EQ(seen.size(), 450U);
}

TEST(GroupSampler, WithImagesAsGroupsEveryCaptionComesOnceAndNoImageTwiceInABatch) {
  const std::vector<int64_t> counts(40, 5);
  const GroupSampler sampler(groups_of(counts), 32, 1, 2);
  ASSERT_EQ(sampler.steps_per_epoch(), 6);
  for (int64_t step = 0; step < 30; ++step) {
    std::set<int64_t> images;
    for (const int64_t sample : take(sampler, step * 32, 32)) images.insert(sample / 5);
    ASSERT_EQ(images.size(), 32U);
  }
  for (int64_t epoch = 0; epoch < 5; ++epoch) EXPECT_EQ(count_each(take(sampler, epoch * 192, 192)).size(), 192U);
}

TEST(GroupSampler, RepeatsAreWholePasses) {
  const GroupSampler sampler(groups_of({4, 4, 4, 4}, 3), 2, 2, 3);
  ASSERT_EQ(sampler.steps_per_epoch(), 12);
  for (const auto& [sample, times] : count_each(take(sampler, 0, 48))) EXPECT_EQ(times, 3) << sample;
}

TEST(SenSampler, DoesAsThePublishedOneDoesOnRstpReid) {
  const std::vector<int64_t> counts(3701, 10);
  const std::vector<int64_t> group = group_of_samples(counts);
  const auto captions = static_cast<int64_t>(group.size());
  const SenSampler sampler(groups_of(counts), 64, 2, 128, 4);
  ASSERT_EQ(sampler.steps_per_epoch(), captions / 64 * 64 / 128);
  for (const int64_t epoch : {0, 7}) {
    const int64_t first = epoch * sampler.steps_per_epoch() * 128;
    double identities = 0;
    std::set<int64_t> used;
    for (int64_t step = 0; step < sampler.steps_per_epoch(); ++step) {
      std::set<int64_t> in_batch;
      for (const int64_t sample : take(sampler, first + step * 128, 128)) {
        in_batch.insert(group[static_cast<size_t>(sample)]);
        used.insert(sample);
      }
      identities += static_cast<double>(in_batch.size());
    }
    // About 96 different identities of 128, 99.9 % of the captions used: figures of the published sampler.
    EXPECT_NEAR(identities / static_cast<double>(sampler.steps_per_epoch()), 96, 2);
    EXPECT_NEAR(static_cast<double>(used.size()) / static_cast<double>(captions), 0.999, 0.002);
  }
}

TEST(SenSampler, CardsAreOneOrTwoSamplesOfOneIdentityAndNoRoundHasAnIdentityTwice) {
  const std::vector<int64_t> counts(40, 6);
  const SenSampler sampler(groups_of(counts), 8, 2, 16, 5);
  const Samples samples = take(sampler, 0, 16 * sampler.steps_per_epoch());
  size_t at = 0;
  std::map<int, int> sizes;
  // An identity's cards have one size in a pass, and the first pass is most of the epoch.
  std::map<int64_t, std::set<int>> sizes_of;
  while (at + 16 < samples.size() / 2) {
    std::set<int64_t> round;
    for (int card = 0; card < 8; ++card) {
      const int64_t identity = samples[at] / 6;
      int size = 1;
      if (samples[at + 1] / 6 == identity) size = 2;
      ASSERT_TRUE(round.insert(identity).second) << at;
      ++sizes[size];
      sizes_of[identity].insert(size);
      at += static_cast<size_t>(size);
    }
  }
  EXPECT_GT(sizes[1], 20);
  EXPECT_GT(sizes[2], 20);
  for (const auto& [identity, found] : sizes_of) EXPECT_EQ(found.size(), 1U) << identity;
}

TEST(SenSampler, OneIdentityWithNearlyAllSamplesTakesNoTime) {
  std::vector<int64_t> counts(70, 3);
  counts[0] = 1000000;
  const SenSampler sampler(groups_of(counts), 64, 2, 128, 6);
  EXPECT_EQ(sampler.steps_per_epoch(), 1);
  EXPECT_EQ(take(sampler, 0, 1280).size(), 1280U);
  EXPECT_EQ(SenSampler::batches(groups_of({1, 1, 1}), 4, 8), 0);
}

// Every kind of sampler, anew.
std::vector<std::function<std::unique_ptr<Sampler>(uint64_t seed)>> all_kinds() {
  const std::vector<int64_t> counts = person_counts(60);
  return {[](uint64_t seed) {
            return std::make_unique<UniformSampler>(std::vector<SampleRange>{{100, 1}}, 12, seed);
          },
          [=](uint64_t seed) { return std::make_unique<GroupSampler>(groups_of(counts), 4, 3, seed); },
          [=](uint64_t seed) { return std::make_unique<GroupSampler>(groups_of(counts), 12, 1, seed); },
          [=](uint64_t seed) { return std::make_unique<SenSampler>(groups_of(counts), 6, 2, 12, seed); }};
}

TEST(Sampler, JumpingToAnyStepIsWalkingThere) {
  for (const auto& make : all_kinds()) {
    const std::unique_ptr<Sampler> walker = make(3);
    const int64_t end = walker->steps_per_epoch() * 12 * 3;
    const Samples walked = take(*walker, 0, end);
    for (int64_t position = 0; position < end; position += 37) {
      EXPECT_EQ(make(3)->sample(position), walked[static_cast<size_t>(position)]) << position;
    }
    // Back and forth over the epochs' ends, as a loader that is ahead asks.
    KeyedRandom random(1, 0, Purpose::kSynth);
    for (int i = 0; i < 300; ++i) {
      const auto position = static_cast<int64_t>(random.next_below(static_cast<uint64_t>(end)));
      EXPECT_EQ(walker->sample(position), walked[static_cast<size_t>(position)]);
    }
  }
}

TEST(Sampler, SeedsAndEpochsHaveOrdersOfTheirOwn) {
  for (const auto& make : all_kinds()) {
    const std::unique_ptr<Sampler> sampler = make(3);
    const int64_t epoch = sampler->steps_per_epoch() * 12;
    EXPECT_NE(take(*sampler, 0, epoch), take(*sampler, epoch, epoch));
    EXPECT_NE(take(*sampler, 0, epoch), take(*make(4), 0, epoch));
  }
}

}  // namespace
}  // namespace muster
