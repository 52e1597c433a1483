#include "dataloader/text_transform.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

namespace muster {
namespace {

using testing::ElementsAre;

// Ids are the bytes, between 1000 and 1001; ordinary are 1 to 899, 900 is the mask.
class ByteTokenizer : public Tokenizer {
 public:
  void encode(std::string_view caption, int64_t* ids, int64_t context) const override {
    std::fill(ids, ids + context, 0);
    ids[0] = 1000;
    int64_t end = 1;
    for (const char c : caption) {
      if (end < context - 1) ids[end++] = static_cast<uint8_t>(c);
    }
    ids[end] = 1001;
  }
  int64_t vocabulary() const override { return 1002; }
  Ordinary ordinary() const override { return {1, 900, 900}; }
  std::string decode(const int64_t* ids, int64_t) const override {
    return *ids == 'm' ? "man" : *ids == 'r' ? "red" : *ids == 't' ? "the" : "walking";
  }
};

const ByteTokenizer kTokenizer;

TextTransformConfig masking(double tokens, double mask, double random, double deleted, bool one = false) {
  TextTransformConfig config;
  config.set_mask_tokens(tokens);
  config.set_mask_share(mask);
  config.set_random_share(random);
  config.set_delete_share(deleted);
  config.set_mask_one(one);
  return config;
}

std::vector<int64_t> encode(const TextTransformConfig& config, const std::string& caption, uint64_t position,
                            int64_t context = 10) {
  std::vector<int64_t> ids(static_cast<size_t>(context));
  TextTransform(config, kTokenizer).encode(caption, 5, position, ids.data(), context);
  return ids;
}

TEST(TextTransform, WithoutRatesCaptionsAreAsTheyAre) {
  EXPECT_THAT(encode({}, "a  b", 0, 7), ElementsAre(1000, 'a', ' ', ' ', 'b', 1001, 0));
}

TEST(TextTransform, WordsGoWithTheirProbability) {
  TextTransformConfig config;
  config.set_delete_words(0.2);
  const TextTransform transform(config, kTokenizer);
  std::map<std::string, int> seen;
  const int tries = 20000;
  for (uint64_t position = 0; position < tries; ++position) {
    ++seen[transform.delete_words(" one\ttwo  three\n", 1, position)];
  }
  ASSERT_EQ(seen.size(), 7U);
  const auto expect = [&](const std::string& kept, double share) {
    EXPECT_NEAR(seen[kept], tries * share, 5 * std::sqrt(tries * share)) << kept;
  };
  expect("one two three", 0.512);
  expect("two three", 0.128);
  expect("one three", 0.128);
  expect("one two", 0.128);
  // One by itself, or drawn when all three would go.
  expect("one", 0.032 + 0.008 / 3);
  expect("two", 0.032 + 0.008 / 3);
  expect("three", 0.032 + 0.008 / 3);
}

TEST(TextTransform, ASingleWordStays) {
  TextTransformConfig config;
  config.set_delete_words(1);
  const TextTransform transform(config, kTokenizer);
  for (const std::string caption : {"word", "", "  "}) EXPECT_EQ(transform.delete_words(caption, 1, 2), caption);
}

TEST(TextTransform, OrdinaryTokensAreMaskedReplacedDeletedOrLeftByTheirShares) {
  const TextTransformConfig config = masking(0.25, 0.4, 0.3, 0.2);
  std::map<std::string, int> fates;
  std::set<int64_t> replacements;
  const int tries = 20000;
  for (uint64_t position = 0; position < tries; ++position) {
    const std::vector<int64_t> ids = encode(config, "b", position, 4);
    ASSERT_EQ(ids[0], 1000);
    if (ids[1] == 1001) {
      ++fates["deleted"];
      ASSERT_THAT(ids, ElementsAre(1000, 1001, 0, 0));
      continue;
    }
    ASSERT_EQ(ids[2], 1001);
    if (ids[1] == 'b') {
      ++fates["left"];
    } else if (ids[1] == 900) {
      ++fates["masked"];
    } else {
      ++fates["replaced"];
      ASSERT_GE(ids[1], 1);
      ASSERT_LT(ids[1], 900);
      replacements.insert(ids[1]);
    }
  }
  const auto expect = [&](const std::string& fate, double share) {
    EXPECT_NEAR(fates[fate], tries * share, 5 * std::sqrt(tries * share)) << fate;
  };
  expect("masked", 0.1);
  expect("replaced", 0.075);
  expect("deleted", 0.05);
  expect("left", 0.775);
  EXPECT_GT(replacements.size(), 600U);  // of 899, in 1500 draws: 729 on average
}

TEST(TextTransform, DeletionMovesTheFollowingUp) {
  const std::vector<int64_t> all = encode(masking(1, 0, 0, 1), "abc", 0, 8);
  EXPECT_THAT(all, ElementsAre(1000, 1001, 0, 0, 0, 0, 0, 0));
  bool some = false;
  for (uint64_t position = 0; position < 50; ++position) {
    some |= encode(masking(0.5, 0, 0, 1), "abc", position, 6) == std::vector<int64_t>{1000, 'a', 'c', 1001, 0, 0};
  }
  EXPECT_TRUE(some);
}

TEST(TextTransform, OneIsMaskedIfAskedAndNoneWasHit) {
  EXPECT_THAT(encode(masking(0, 0.8, 0.1, 0, true), "abc", 0, 6), ElementsAre(1000, 900, 'b', 'c', 1001, 0));
  // Published code overwrites the end token of an empty caption.
  EXPECT_THAT(encode(masking(0, 0.8, 0.1, 0, true), "", 0, 4), ElementsAre(1000, 1001, 0, 0));
  // A token that was hit and stays counts.
  EXPECT_THAT(encode(masking(1, 0, 0, 0, true), "a", 0, 4), ElementsAre(1000, 'a', 1001, 0));
}

TEST(TextTransform, NounsAndAdjectivesAreHitWithTheirOwnProbability) {
  TextTransformConfig config = masking(0.05, 1, 0, 0);
  config.set_mask_nouns(0.3);
  const TextTransform transform(config, kTokenizer);
  std::map<int64_t, int> masked;
  const int tries = 20000;
  for (uint64_t position = 0; position < tries; ++position) {
    std::vector<int64_t> ids(7);
    transform.encode("mrtw", 5, position, ids.data(), 7);
    for (int64_t i = 1; i <= 4; ++i) masked[i] += ids[static_cast<size_t>(i)] == 900;
    ASSERT_EQ(ids[5], 1001);
  }
  for (const auto& [place, share] : std::map<int64_t, double>{{1, 0.3}, {2, 0.3}, {3, 0.05}, {4, 0.05}}) {
    EXPECT_NEAR(masked[place], tries * share, 5 * std::sqrt(tries * share)) << place;
  }
  // Nouns alone; where none is hit, the first token is, whatever it is.
  config.set_mask_tokens(0);
  config.set_mask_nouns(1);
  EXPECT_THAT(encode(config, "tmw", 0, 6), ElementsAre(1000, 't', 900, 'w', 1001, 0));
  config.set_mask_one(true);
  EXPECT_THAT(encode(config, "tw", 0, 5), ElementsAre(1000, 900, 'w', 1001, 0));
}

TEST(TextTransform, ChoicesDependOnSeedAndPositionOnly) {
  TextTransformConfig config = masking(0.3, 0.6, 0.2, 0.2);
  config.set_delete_words(0.3);
  const std::string caption = "a man in a red coat walks";
  int same = 0;
  for (uint64_t position = 0; position < 40; ++position) {
    EXPECT_EQ(encode(config, caption, position, 30), encode(config, caption, position, 30));
    same += encode(config, caption, position, 30) == encode(config, caption, position + 1, 30) ? 1 : 0;
  }
  EXPECT_LT(same, 3);
}

TEST(TextTransform, CaptionsArePrunedWithTheirProbability) {
  TextTransformConfig config;
  config.set_prune(0.2);
  const TextTransform transform(config, kTokenizer);
  const std::string caption = "the man is wearing a red coat", kept = "man red coat";
  int pruned = 0;
  for (uint64_t position = 0; position < 5000; ++position) {
    const std::string one = transform.prune(caption, 5, position);
    EXPECT_EQ(one, transform.prune(caption, 5, position));
    ASSERT_TRUE(one == caption || one == kept) << one;
    pruned += one == kept;
  }
  EXPECT_NEAR(pruned, 1000, 100);
}

// Words are deleted from what pruning left, and the others are as they were.
TEST(TextTransform, PrunesBeforeItDeletes) {
  TextTransformConfig config;
  config.set_prune(1);
  config.set_delete_words(0.5);
  const TextTransform transform(config, kTokenizer);
  std::vector<int64_t> ids(12), expected(12);
  for (uint64_t position = 0; position < 50; ++position) {
    transform.encode("the man is wearing a red coat", 5, position, ids.data(), 12);
    kTokenizer.encode(transform.delete_words("man red coat", 5, position), expected.data(), 12);
    EXPECT_EQ(ids, expected);
  }
}

}  // namespace
}  // namespace muster
