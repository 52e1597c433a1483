#include "dataloader/synth/ceiling.h"

#include <gmock/gmock.h>

#include "dataloader/synth/caption_words.h"
#include "launch/error.h"

namespace muster::synth {
namespace {

using testing::ElementsAre;

TEST(CaptionWords, AreDistinctWordsAndPairsWithoutCaseAndPunctuation) {
  CaptionWords words;
  EXPECT_THAT(words.of("A red T-shirt, a RED bag.", false), ElementsAre(0, 1, 2, 3));  // a red t-shirt bag
  EXPECT_EQ(words.count(), 4);
  EXPECT_THAT(words.of("red bag", true), ElementsAre(1, 3, 4));
  EXPECT_THAT(words.of("green bag", true, false), ElementsAre(3));
  EXPECT_THAT(words.of("...", true), ElementsAre());
}

Options options(double test_fraction) {
  Options o;
  o.identities = 150;
  o.views = 3;
  o.seed = 2;
  o.test_fraction = test_fraction;
  return o;
}

TEST(Ceiling, IsFarAboveColourHistogramsAndThoseAboveChance) {
  const Ceiling ceiling = measure_ceiling(Set(options(0.2)));
  EXPECT_EQ(ceiling.gallery, 90);
  EXPECT_EQ(ceiling.queries, 180);
  EXPECT_DOUBLE_EQ(ceiling.chance, 100.0 * 3 / 90);
  EXPECT_GE(ceiling.oracle, 90);
  EXPECT_LT(ceiling.histogram, ceiling.oracle / 2);
  EXPECT_GT(ceiling.histogram, 2 * ceiling.chance);
}

TEST(Ceiling, NeedsTestImages) {
  EXPECT_THROW(measure_ceiling(Set(options(0))), ConfigError);
}

}  // namespace
}  // namespace muster::synth
