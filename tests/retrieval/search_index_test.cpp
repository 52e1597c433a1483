// The index for one query against brute force in float64, and against top_k() bit by bit.
#include "trainer/retrieval/search_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/Parallel.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "comm/local_communicator.h"
#include "launch/error.h"
#include "tests/retrieval/made_embeddings.h"
#include "trainer/retrieval/fixed_product.h"
#include "trainer/retrieval/panel_kernel.h"
#include "trainer/retrieval/retrieval.h"
#include "trainer/retrieval/score_kernel.h"

namespace muster {
namespace {

SearchIndex index_of(const at::Tensor& features, Storage storage = Storage::kFloat32) {
  SearchIndex index(features.size(0), features.size(1), storage);
  index.add(features);
  return index;
}

// Bits, not values: 0 and -0 differ.
void expect_same_hits(const std::vector<Hit>& made, const std::vector<Hit>& truth) {
  ASSERT_EQ(made.size(), truth.size());
  for (size_t i = 0; i < made.size(); ++i) {
    EXPECT_EQ(made[i].item, truth[i].item) << "rank " << i + 1;
    EXPECT_EQ(std::memcmp(&made[i].score, &truth[i].score, sizeof(float)), 0) << "rank " << i + 1;
  }
}

std::vector<Hit> hits_of_top_k(const at::Tensor& query, const at::Tensor& gallery, int64_t k) {
  LocalCommunicator alone;
  const TopK best = top_k({query.reshape({1, -1}), at::zeros({1}, at::kLong)},
                          {gallery, at::zeros({gallery.size(0)}, at::kLong)}, k, alone);
  std::vector<Hit> hits;
  for (int64_t i = 0; i < best.index.size(1); ++i) {
    hits.push_back({best.score[0][i].item<float>(), static_cast<uint32_t>(best.index[0][i].item<int64_t>())});
  }
  return hits;
}

struct Shape {
  int64_t rows;
  int64_t width;
  int64_t k;
};

class SearchIndexShapes : public testing::TestWithParam<Shape> {};

TEST_P(SearchIndexShapes, HitsHaveTheBitsOfTopK) {
  const auto [rows, width, k] = GetParam();
  const EmbeddingRows queries = normal_rows(3, width, 1, 1), gallery = normal_rows(rows, width, 1, 2);
  const SearchIndex index = index_of(gallery.features);
  for (int64_t q = 0; q < 3; ++q) {
    expect_same_hits(index.search(queries.features[q], k), hits_of_top_k(queries.features[q], gallery.features, k));
  }
}

TEST_P(SearchIndexShapes, RanksAreThoseOfBruteForceWhereTiesDecide) {
  const auto [rows, width, k] = GetParam();
  if (width < 20) return;
  const EmbeddingRows queries = exact_rows(5, width, 1, 3), gallery = exact_rows(rows, width, 1, 4);
  const SearchIndex index = index_of(gallery.features), half = index_of(gallery.features, Storage::kFloat16);
  for (int64_t q = 0; q < 5; ++q) {
    std::vector<int64_t> truth = true_ranking(queries, q, gallery);
    truth.resize(static_cast<size_t>(std::min(k, rows)));
    std::vector<int64_t> made;
    const std::vector<Hit> hits = index.search(queries.features[q], k);
    for (const Hit& hit : hits) made.push_back(hit.item);
    EXPECT_EQ(made, truth);
    expect_same_hits(half.search(queries.features[q], k), hits);  // such rows are exact in float16 too
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SearchIndexShapes,
                         testing::Values(Shape{1, 20, 1}, Shape{31, 20, 7}, Shape{32, 33, 40}, Shape{33, 20, 1},
                                         Shape{40, 1, 3}, Shape{2311, 20, 10}, Shape{2311, 65, 1},
                                         Shape{1000, 24, 1000}, Shape{1000, 24, 5000}));

TEST(SearchIndex, EmptyGalleryFindsNothing) {
  const at::Tensor none = at::empty({0, 20}, at::kFloat);
  EXPECT_TRUE(index_of(none).search(normal_rows(1, 20, 1, 1).features[0], 3).empty());
}

TEST(SearchIndex, ThreadsDoNotMatter) {
  const EmbeddingRows gallery = exact_rows(2311, 20, 1, 5);
  const at::Tensor query = exact_rows(1, 20, 1, 6).features[0];
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const SearchIndex index = index_of(gallery.features);
  const std::vector<Hit> one = index.search(query, 50);
  for (const int threads : {2, 3, 7}) {
    at::set_num_threads(threads);
    expect_same_hits(index.search(query, 50), one);
    expect_same_hits(index_of(gallery.features).search(query, 50), one);
  }
  at::set_num_threads(before);
}

TEST(SearchIndex, PiecesMakeTheWhole) {
  const EmbeddingRows gallery = normal_rows(137, 20, 1, 7);
  const at::Tensor query = normal_rows(1, 20, 1, 8).features[0];
  for (const Storage storage : {Storage::kFloat32, Storage::kFloat16}) {
    SearchIndex pieces(137, 20, storage);
    int64_t first = 0;
    for (const int64_t count : {5, 0, 27, 1, 64, 40}) {
      pieces.add(gallery.features.narrow(0, first, count));
      first += count;
    }
    expect_same_hits(pieces.search(query, 137), index_of(gallery.features, storage).search(query, 137));
  }
}

// The chain of the header, one multiplication after the other.
TEST(SearchIndex, HalfScoresAreThoseOfTheRoundedRows) {
  constexpr int64_t kWidth = 65;
  const EmbeddingRows gallery = normal_rows(100, kWidth, 1, 9);
  const at::Tensor query = normal_rows(1, kWidth, 1, 10).features;
  const at::Tensor unit = unit_matrix(query), rounded = unit_matrix(gallery.features).to(at::kHalf).to(at::kFloat);
  const std::vector<Hit> hits = index_of(gallery.features, Storage::kFloat16).search(query[0], 100);
  ASSERT_EQ(hits.size(), 100U);
  for (const Hit& hit : hits) {
    float sum = 0;
    for (int64_t c = 0; c < kWidth; ++c) {
      sum = std::fma(unit.const_data_ptr<float>()[c], rounded.const_data_ptr<float>()[hit.item * kWidth + c], sum);
    }
    EXPECT_EQ(hit.score, sum);
  }
  EXPECT_NE(hits[0].score, index_of(gallery.features).search(query[0], 1)[0].score);
}

TEST(SearchIndex, MixedScoresAreOfBothProducts) {
  const EmbeddingRows gallery = exact_rows(300, 20, 1, 11), second = exact_rows(300, 24, 1, 12);
  const at::Tensor query = exact_rows(1, 20, 1, 13).features[0], other = exact_rows(1, 24, 1, 14).features[0];
  SearchIndex index = index_of(gallery.features);
  index.add_second(second.features);
  const at::Tensor cosines = unit_matrix(gallery.features).matmul(unit_matrix(query.reshape({1, 20}))[0]);
  const at::Tensor scores = cosines.mul(0.5).add(second.features.matmul(other), -2).to(at::kDouble);
  const at::Tensor order = scores.argsort(/*stable=*/true, 0, /*descending=*/true);
  const std::vector<Hit> hits = index.search_mixed(query, {other, {0.5F, -2}, 0}, 300);
  ASSERT_EQ(hits.size(), 300U);
  for (size_t i = 0; i < hits.size(); ++i) {
    EXPECT_EQ(hits[i].item, order[static_cast<int64_t>(i)].item<int64_t>());
    EXPECT_EQ(static_cast<double>(hits[i].score), scores[hits[i].item].item<double>());
  }
  // Of the 50 best by cosine only; the others follow with their cosines.
  const std::vector<Hit> plain = index.search(query, 300);
  std::vector<Hit> truth(plain);
  for (size_t i = 0; i < 50; ++i) truth[i].score = scores[truth[i].item].to(at::kFloat).item<float>();
  std::stable_sort(truth.begin(), truth.begin() + 50, better);
  for (const int64_t k : {1, 20, 50, 120, 300}) {
    expect_same_hits(index.search_mixed(query, {other, {0.5F, -2}, 50}, k), {truth.begin(), truth.begin() + k});
  }
}

// Beyond float16's range infinity would meet a zero of the query.
TEST(SearchIndex, LargeSecondRowsStayFinite) {
  SearchIndex index = index_of(exact_rows(1, 20, 1, 15).features, Storage::kFloat16);
  index.add_second(at::zeros({1, 2}, at::kFloat).fill_(1e9));
  at::Tensor second = at::zeros({2}, at::kFloat);
  second[0] = 1;
  EXPECT_EQ(index.search_mixed(exact_rows(1, 20, 1, 16).features[0], {second, {0, 1}, 0}, 1)[0].score, 65504);
}

TEST(SearchIndexErrors, NonFiniteRowsAndImpossibleSizesAreRefused) {
  at::Tensor rows = normal_rows(40, 20, 1, 17).features;
  const SearchIndex whole = index_of(rows);
  rows[3][4] = NAN;
  rows[9][0] = INFINITY;
  EXPECT_THROW(
      {
        try {
          index_of(rows);
        } catch (const NonFiniteError& error) {
          EXPECT_THAT(error.what(), testing::HasSubstr("2 of 40 gallery rows hold NaN or infinity"));
          throw;
        }
      },
      NonFiniteError);
  EXPECT_THROW(whole.search(rows[3], 1), NonFiniteError);
  EXPECT_THROW(whole.search(rows[0], 0), std::logic_error);
  EXPECT_THROW(SearchIndex(int64_t{1} << 40, 512, Storage::kFloat32), ConfigError);
  SearchIndex small(32, 20, Storage::kFloat32);
  EXPECT_THROW(small.add(rows.narrow(0, 10, 30).repeat({2, 1})), std::logic_error);
}

template <typename Stored>
void expect_variants_agree(const ScoreQueryVariants<Stored>& variants, const std::vector<Stored>& panels, int64_t width,
                           int64_t count) {
  std::mt19937 random(18);
  std::normal_distribution<float> normal;
  std::vector<float> query(static_cast<size_t>(width));
  for (float& value : query) value = normal(random);
  std::vector<float> portable(static_cast<size_t>(count * kPanelRows), -7), made = portable, fast = portable;
  variants.portable(query.data(), width, panels.data(), count, portable.data());
  score_query(query.data(), width, panels.data(), count, made.data());
  EXPECT_EQ(made, portable);
  for (const auto variant : {variants.avx512, variants.avx2}) {
    if (variant == nullptr) continue;
    variant(query.data(), width, panels.data(), count, fast.data());
    EXPECT_EQ(fast, portable);
  }
}

TEST(PanelKernel, EveryVariantHasTheSameBits) {
  for (const int64_t width : {0, 1, 7, 64, 513}) {
    std::mt19937 random(19);
    std::normal_distribution<float> normal;
    std::vector<float> panels;
    std::vector<uint16_t> half;
    for (int64_t i = 0; i < 3 * width * kPanelRows; ++i) {
      panels.push_back(normal(random));
      half.push_back(c10::Half(panels.back()).x);
    }
    expect_variants_agree(score_query_variants(), panels, width, 3);
    expect_variants_agree(score_query_half_variants(), half, width, 3);
  }
}

TEST(PanelKernel, EveryHalfHasItsValue) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float made = half_value(static_cast<uint16_t>(bits));
    const float truth = static_cast<float>(c10::Half(static_cast<uint16_t>(bits), c10::Half::from_bits()));
    if (std::isnan(truth)) {
      EXPECT_TRUE(std::isnan(made)) << bits;
    } else {
      EXPECT_EQ(std::memcmp(&made, &truth, sizeof made), 0) << bits;
    }
  }
}

}  // namespace
}  // namespace muster
