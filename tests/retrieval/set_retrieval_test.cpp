// Ranking by alignments of regions and words, against all scores by brute force in double.
#include "trainer/retrieval/set_retrieval.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <mutex>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "dataloader/batch.h"
#include "launch/error.h"
#include "tests/retrieval/made_embeddings.h"

namespace muster {
namespace {

EmbeddingSets make_sets(int64_t sets, int64_t least, int64_t most, int64_t identities, bool exact, uint32_t seed) {
  std::mt19937 random(seed);
  EmbeddingSets made;
  int64_t rows = 0;
  for (int64_t i = 0; i < sets; ++i) {
    made.sizes.push_back(least + static_cast<int64_t>(random() % static_cast<uint32_t>(most - least + 1)));
    rows += made.sizes.back();
  }
  made.features = (exact ? exact_rows(rows, 20, 1, seed) : normal_rows(rows, 20, 1, seed)).features;
  made.identity = exact_rows(sets, 20, identities, seed + 1).identity;
  return made;
}

// The first of all sets have those before them, [of 0 to the number of sets].
std::vector<int64_t> begins_of(const EmbeddingSets& sets) {
  std::vector<int64_t> begins{0};
  for (const int64_t size : sets.sizes) begins.push_back(begins.back() + size);
  return begins;
}

EmbeddingSets part(const EmbeddingSets& all, int64_t first, int64_t count) {
  const std::vector<int64_t> begins = begins_of(all);
  const int64_t begin = begins[static_cast<size_t>(first)], end = begins[static_cast<size_t>(first + count)];
  return {all.features.narrow(0, begin, end - begin),
          {all.sizes.begin() + first, all.sizes.begin() + first + count},
          all.identity.narrow(0, first, count)};
}

// scores[text][image]
std::vector<std::vector<double>> brute_force(const EmbeddingSets& texts, const EmbeddingSets& images,
                                             const Alignment& alignment) {
  const std::vector<int64_t> words = begins_of(texts), regions = begins_of(images);
  const EmbeddingRows word_rows{texts.features, {}}, region_rows{images.features, {}};
  std::vector<std::vector<double>> cosines;
  for (int64_t w = 0; w < words.back(); ++w) cosines.push_back(true_scores(word_rows, w, region_rows));
  std::vector<std::vector<double>> scores(texts.sizes.size(), std::vector<double>(images.sizes.size(), 0.0));
  for (size_t t = 0; t < texts.sizes.size(); ++t) {
    for (size_t i = 0; i < images.sizes.size(); ++i) {
      double over_regions = 0, over_words = 0;
      for (int64_t w = words[t]; w < words[t + 1]; ++w) {
        double best = -2;
        for (int64_t r = regions[i]; r < regions[i + 1]; ++r) {
          best = std::max(best, cosines[static_cast<size_t>(w)][static_cast<size_t>(r)]);
        }
        over_regions += best;
      }
      for (int64_t r = regions[i]; texts.sizes[t] > 0 && r < regions[i + 1]; ++r) {
        double best = alignment.floor_at_zero ? 0 : -2;
        for (int64_t w = words[t]; w < words[t + 1]; ++w) {
          best = std::max(best, cosines[static_cast<size_t>(w)][static_cast<size_t>(r)]);
        }
        over_words += best;
      }
      if (alignment.mean_over_words && texts.sizes[t] > 0) over_regions /= static_cast<double>(texts.sizes[t]);
      scores[t][i] = (alignment.over_regions ? over_regions : 0) + (alignment.over_words ? over_words : 0);
    }
  }
  return scores;
}

BothDirections true_figures(const EmbeddingSets& texts, const EmbeddingSets& images, const Alignment& alignment) {
  const std::vector<std::vector<double>> scores = brute_force(texts, images, alignment);
  const auto as_rows = [](const EmbeddingSets& sets) {
    return EmbeddingRows{at::empty({static_cast<int64_t>(sets.sizes.size()), 1}, at::kFloat), sets.identity};
  };
  const auto of_text = [&](int64_t text) { return order_of(scores[static_cast<size_t>(text)]); };
  const auto of_image = [&](int64_t image) {
    std::vector<double> column;
    for (const auto& row : scores) column.push_back(row[static_cast<size_t>(image)]);
    return order_of(column);
  };
  return {metrics_of(as_rows(texts), as_rows(images), of_text), metrics_of(as_rows(images), as_rows(texts), of_image)};
}

std::vector<Alignment> alignments() {
  std::vector<Alignment> all(5);
  all[1].over_regions = false;
  all[1].over_words = all[2].over_words = all[3].over_words = true;
  all[3].floor_at_zero = true;
  all[4].mean_over_words = true;
  return all;
}

// Means of a caption's words are no powers of two: ties there are of equal captions alone.
TEST(EvaluateSets, EqualsBruteForceWhereTiesDecide) {
  const EmbeddingSets texts = make_sets(90, 0, 9, 40, true, 1), images = make_sets(110, 1, 40, 45, true, 2);
  for (const Alignment& alignment : alignments()) {
    if (alignment.mean_over_words) continue;
    LocalCommunicator alone;
    const BothDirections made = evaluate_sets(texts, images, alignment, alone),
                         truth = true_figures(texts, images, alignment);
    EXPECT_GT(truth.text_to_image.r10, 0);
    expect_near(made.text_to_image, truth.text_to_image);
    expect_near(made.image_to_text, truth.image_to_text);
  }
}

TEST(EvaluateSets, EqualsBruteForceOnRealNumbers) {
  const EmbeddingSets texts = make_sets(150, 0, 9, 30, false, 3), images = make_sets(60, 36, 36, 30, false, 4);
  for (const Alignment& alignment : alignments()) {
    LocalCommunicator alone;
    const BothDirections made = evaluate_sets(texts, images, alignment, alone),
                         truth = true_figures(texts, images, alignment);
    expect_near(made.text_to_image, truth.text_to_image);
    expect_near(made.image_to_text, truth.image_to_text);
  }
}

// In image order, as COCO has them: 5 captions each.
TEST(EvaluateSets, BitsDoNotDependOnRanks) {
  const EmbeddingSets texts = make_sets(205, 0, 7, 30, false, 5), images = make_sets(41, 1, 60, 30, false, 6);
  Alignment both;
  both.over_words = true;
  LocalCommunicator alone;
  const BothDirections whole = evaluate_sets(texts, images, both, alone);
  const std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>> cuts = {
      {{103, 102}, {21, 20}}, {{0, 205, 0}, {40, 0, 1}}, {{1, 3, 200, 1}, {11, 11, 0, 19}}};
  for (const auto& [text_cut, image_cut] : cuts) {
    std::mutex mutex;
    run_ranks(static_cast<int>(text_cut.size()), [&, text_rows = text_cut,
                                                  image_rows = image_cut](Communicator& communicator) {
      const auto share = [&](const EmbeddingSets& all, const std::vector<int64_t>& rows) {
        const auto own = rows.begin() + communicator.rank();
        return part(all, std::accumulate(rows.begin(), own, int64_t{0}), *own);
      };
      const BothDirections made = evaluate_sets(share(texts, text_rows), share(images, image_rows), both, communicator);
      const std::lock_guard lock(mutex);
      EXPECT_EQ(std::memcmp(&made, &whole, sizeof(made)), 0);
    });
  }
}

TEST(EvaluateSets, SaysHowManyRowsAreNotFinite) {
  const EmbeddingSets texts = make_sets(5, 1, 3, 3, false, 7), images = make_sets(4, 2, 3, 3, false, 8);
  images.features[1][3].fill_(std::numeric_limits<float>::quiet_NaN());
  LocalCommunicator alone;
  EXPECT_THROW(evaluate_sets(texts, images, {}, alone), NonFiniteError);
}

// The best items of both sides are those of the brute force's order, on any ranks, ties included.
TEST(EvaluateSets, BestItemsAreBruteForces) {
  const EmbeddingSets texts = make_sets(70, 0, 6, 40, true, 1), images = make_sets(60, 1, 9, 45, true, 2);
  const std::vector<std::vector<double>> scores = brute_force(texts, images, {});
  for (const int ranks : {1, 2, 3}) {
    run_ranks(ranks, [&](Communicator& communicator) {
      const Shard shard{communicator.rank(), communicator.size()};
      const Slice own_texts = slice_of(70, shard), own_images = slice_of(60, shard);
      BestItems best;
      evaluate_sets(part(texts, own_texts.first, own_texts.count), part(images, own_images.first, own_images.count), {},
                    communicator, &best);
      ASSERT_EQ(best.of_texts.sizes(), (at::IntArrayRef{own_texts.count, kNdcgItems}));
      ASSERT_EQ(best.of_images.sizes(), (at::IntArrayRef{own_images.count, kNdcgItems}));
      for (int64_t q = 0; q < own_texts.count; ++q) {
        const std::vector<int64_t> order = order_of(scores[static_cast<size_t>(own_texts.first + q)]);
        for (int64_t i = 0; i < kNdcgItems; ++i) {
          EXPECT_EQ(best.of_texts[q][i].item<int64_t>(), order[static_cast<size_t>(i)]);
        }
      }
      for (int64_t q = 0; q < own_images.count; ++q) {
        std::vector<double> column;
        for (const auto& row : scores) column.push_back(row[static_cast<size_t>(own_images.first + q)]);
        const std::vector<int64_t> order = order_of(column);
        for (int64_t i = 0; i < kNdcgItems; ++i) {
          EXPECT_EQ(best.of_images[q][i].item<int64_t>(), order[static_cast<size_t>(i)]);
        }
      }
    });
  }
}

}  // namespace
}  // namespace muster
