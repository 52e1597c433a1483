#include "trainer/retrieval/retrieval.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "dataloader/formats/safetensors.h"
#include "launch/error.h"
#include "tests/retrieval/made_embeddings.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

constexpr int64_t kQueries = 301;
constexpr int64_t kGallery = 2311;  // two whole blocks of the stream and a ragged one

BothDirections evaluate_alone(const EmbeddingRows& texts, const EmbeddingRows& images) {
  LocalCommunicator alone;
  return evaluate_retrieval(texts, images, alone);
}

void expect_equals_brute_force(const EmbeddingRows& texts, const EmbeddingRows& images) {
  const BothDirections made = evaluate_alone(texts, images);
  expect_near(made.text_to_image, true_metrics(texts, images));
  expect_near(made.image_to_text, true_metrics(images, texts));
}

bool same_bits(const BothDirections& a, const BothDirections& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

TEST(EvaluateRetrieval, EqualsBruteForceWhereTiesDecide) {
  const EmbeddingRows queries = exact_rows(kQueries, 20, 500, 1);
  const EmbeddingRows gallery = exact_rows(kGallery, 20, 480, 2);
  EXPECT_GT(true_metrics(queries, gallery).skipped, 0);
  EXPECT_GT(true_metrics(gallery, queries).skipped, 0);
  expect_equals_brute_force(queries, gallery);
}

TEST(EvaluateRetrieval, EqualsBruteForceOnRealNumbers) {
  const EmbeddingRows queries = normal_rows(150, 65, 100, 3);
  const EmbeddingRows gallery = normal_rows(400, 65, 100, 4);
  expect_equals_brute_force(queries, gallery);
}

TEST(EvaluateRetrieval, EqualsBruteForceWithHundredsOfPositives) {
  const EmbeddingRows queries = exact_rows(40, 20, 3, 5);
  const EmbeddingRows gallery = exact_rows(kGallery, 20, 5, 6);
  expect_equals_brute_force(queries, gallery);
}

// 17 columns: a strip of one; 250 to 270 positives: both ways of counting, side by side in one strip.
TEST(EvaluateRetrieval, EqualsBruteForceWithListsOfAllLengths) {
  const EmbeddingRows images = exact_rows(17, 20, 6, 14);
  EmbeddingRows texts = exact_rows(1100, 20, 6, 15);
  auto* identity = texts.identity.mutable_data_ptr<int64_t>();
  for (int64_t r = 0; r < 1100; ++r) identity[r] = r < 520 ? r % 2 : r < 776 ? 2 : r < 1031 ? 3 : r < 1032 ? 4 : 7;
  expect_equals_brute_force(texts, images);
  expect_equals_brute_force(images, texts);
}

TEST(EvaluateRetrieval, AllEqualRowsRankByIndex) {
  const EmbeddingRows row = exact_rows(1, 20, 1, 7);
  EmbeddingRows gallery{row.features.repeat({1500, 1}), at::zeros({1500}, at::kLong)};
  gallery.identity.mutable_data_ptr<int64_t>()[3] = 9;
  gallery.identity.mutable_data_ptr<int64_t>()[1234] = 9;
  EmbeddingRows query = row;
  query.identity.mutable_data_ptr<int64_t>()[0] = 9;
  const RetrievalMetrics made = evaluate_alone(query, gallery).text_to_image;
  EXPECT_EQ(made.r1, 0);
  EXPECT_EQ(made.r5, 100);
  EXPECT_DOUBLE_EQ(made.map, 100 * (1.0 / 4 + 2.0 / 1235) / 2);
  EXPECT_DOUBLE_EQ(made.minp, 100 * 2.0 / 1235);
  const RetrievalMetrics back = evaluate_alone(gallery, query).image_to_text;
  EXPECT_EQ(std::memcmp(&back, &made, sizeof(made)), 0);
}

TEST(EvaluateRetrieval, ScaleOfRowsDoesNotMatter) {
  const EmbeddingRows queries = exact_rows(kQueries, 20, 500, 1);
  const EmbeddingRows gallery = exact_rows(kGallery, 20, 480, 2);
  EmbeddingRows scaled{queries.features.mul(1048576.0), queries.identity};
  expect_equals_brute_force(scaled, gallery);
}

TEST(EvaluateRetrieval, NoPositivesAtAll) {
  EmbeddingRows queries = exact_rows(5, 20, 3, 1);
  const EmbeddingRows gallery = exact_rows(7, 20, 3, 2);
  queries.identity = queries.identity.add(100);
  const BothDirections made = evaluate_alone(queries, gallery);
  EXPECT_EQ(made.text_to_image.queries, 0);
  EXPECT_EQ(made.text_to_image.skipped, 5);
  EXPECT_EQ(made.text_to_image.map, 0);
  EXPECT_EQ(made.image_to_text.skipped, 7);
}

TEST(EvaluateRetrieval, NothingToSearch) {
  const EmbeddingRows queries = exact_rows(5, 20, 3, 1);
  const EmbeddingRows nothing = slice(queries, 0, 0);
  EXPECT_EQ(evaluate_alone(queries, nothing).text_to_image.skipped, 5);
  EXPECT_EQ(evaluate_alone(queries, nothing).image_to_text.gallery, 5);
  EXPECT_EQ(evaluate_alone(nothing, queries).text_to_image.gallery, 5);
  EXPECT_EQ(evaluate_alone(nothing, queries).image_to_text.skipped, 5);
  EXPECT_EQ(evaluate_alone(nothing, nothing).text_to_image.queries, 0);
}

// Exact in every arithmetic, like exact_rows(): unit second rows, weights that are powers of two.
MixedRows exact_mixture(int64_t rows, int64_t identities, uint32_t seed) {
  MixedRows made{exact_rows(rows, 20, identities, seed), {}, at::empty({rows, 2}, at::kFloat)};
  const EmbeddingRows second = exact_rows(rows, 20, identities, seed + 1000);
  made.second = second.features.div(second.features.norm(2, 1, true));
  auto* weight = made.weight.mutable_data_ptr<float>();
  for (int64_t r = 0; r < rows; ++r) {
    *weight++ = 1;
    *weight++ = r % 3 == 0 ? 2.0F : 0.5F;
  }
  return made;
}

MixedRows share(const MixedRows& all, const std::vector<int64_t>& rows, int rank) {
  const int64_t first = std::accumulate(rows.begin(), rows.begin() + rank, int64_t{0});
  const int64_t count = rows[static_cast<size_t>(rank)];
  return {share(all.rows, rows, rank), all.second.narrow(0, first, count), all.weight.narrow(0, first, count)};
}

// The `top` best by cosine ordered by the mixture, the others behind them (0: all by the mixture).
RetrievalMetrics true_mixed_metrics(const MixedRows& queries, const MixedRows& gallery, int64_t top) {
  const EmbeddingRows seconds{queries.second, queries.rows.identity}, second_gallery{gallery.second, {}};
  return metrics_of(queries.rows, gallery.rows, [&](int64_t q) {
    const std::vector<double> plain = true_scores(queries.rows, q, gallery.rows);
    const std::vector<double> second = true_scores(seconds, q, second_gallery);
    const auto* weight = queries.weight.const_data_ptr<float>() + 2 * q;
    std::vector<double> mixed = plain;
    const std::vector<int64_t> order = order_of(plain);
    for (size_t place = 0; place < order.size() && (top == 0 || place < static_cast<size_t>(top)); ++place) {
      const auto item = static_cast<size_t>(order[place]);
      mixed[item] = 100 + weight[0] * plain[item] + weight[1] * second[item];
    }
    return order_of(mixed);
  });
}

BothDirections mix_alone(const MixedRows& texts, const MixedRows& images, int64_t top) {
  LocalCommunicator alone;
  return evaluate_mixed(texts, images, top, alone);
}

// More than a thousand texts: lists are cut several times while scores pass by, and again where threads and ranks join.
TEST(EvaluateMixed, EqualsBruteForceForAnyTopWhereTiesDecide) {
  const MixedRows texts = exact_mixture(1400, 300, 1), images = exact_mixture(1100, 290, 2);
  for (const int64_t top : {0, 1, 10, 100, 1100, 1399, 5000}) {
    const BothDirections made = mix_alone(texts, images, top);
    expect_near(made.text_to_image, true_mixed_metrics(texts, images, top));
    expect_near(made.image_to_text, true_mixed_metrics(images, texts, top));
  }
}

TEST(EvaluateMixed, EqualsBruteForceWithHundredsOfPositives) {
  const MixedRows texts = exact_mixture(900, 2, 3), images = exact_mixture(1100, 3, 4);
  for (const int64_t top : {100, 500}) {
    const BothDirections made = mix_alone(texts, images, top);
    expect_near(made.text_to_image, true_mixed_metrics(texts, images, top));
    expect_near(made.image_to_text, true_mixed_metrics(images, texts, top));
  }
}

TEST(EvaluateMixed, TheFirstOfOneIsThePlainFirst) {
  const MixedRows texts = exact_mixture(120, 60, 5), images = exact_mixture(130, 60, 6);
  const BothDirections made = mix_alone(texts, images, 1), plain = evaluate_alone(texts.rows, images.rows);
  EXPECT_TRUE(same_bits(made, plain));
}

struct Cut {
  std::vector<int64_t> queries;
  std::vector<int64_t> gallery;
};

class Cuts : public testing::TestWithParam<Cut> {
 protected:
  int size() const { return static_cast<int>(GetParam().queries.size()); }

  void expect_bits_of_one_process(const EmbeddingRows& texts, const EmbeddingRows& images) {
    const BothDirections alone = evaluate_alone(texts, images);
    run_ranks(size(), [&](Communicator& communicator) {
      const BothDirections made =
          evaluate_retrieval(share(texts, GetParam().queries, communicator.rank()),
                             share(images, GetParam().gallery, communicator.rank()), communicator);
      if (!same_bits(made, alone)) throw std::runtime_error("the figures differ from one process's");
    });
  }
};

TEST_P(Cuts, FiguresHaveTheBitsOfOneProcess) {
  expect_bits_of_one_process(normal_rows(kQueries, 33, 300, 8), normal_rows(kGallery, 33, 290, 9));
}

TEST_P(Cuts, FiguresHaveTheBitsOfOneProcessWhereTiesDecide) {
  expect_bits_of_one_process(exact_rows(kQueries, 20, 300, 16), exact_rows(kGallery, 20, 290, 17));
}

TEST_P(Cuts, FiguresHaveTheBitsOfOneProcessWithHundredsOfPositives) {
  expect_bits_of_one_process(exact_rows(kQueries, 20, 1, 18), exact_rows(kGallery, 20, 2, 19));
}

TEST_P(Cuts, TopsOfMixturesHaveTheBitsOfOneProcess) {
  const MixedRows texts = exact_mixture(kQueries, 60, 20), images = exact_mixture(kGallery, 70, 22);
  for (const int64_t top : {3, 100, 400}) {
    const BothDirections alone = mix_alone(texts, images, top);
    run_ranks(size(), [&](Communicator& communicator) {
      const BothDirections made =
          evaluate_mixed(share(texts, GetParam().queries, communicator.rank()),
                         share(images, GetParam().gallery, communicator.rank()), top, communicator);
      if (!same_bits(made, alone)) throw std::runtime_error("the figures differ from one process's");
    });
  }
}

TEST_P(Cuts, BestHitsAreThoseOfBruteForce) {
  const EmbeddingRows queries = exact_rows(kQueries, 20, 10, 10);
  const EmbeddingRows gallery = exact_rows(kGallery, 20, 10, 11);
  std::mutex reporting;
  run_ranks(size(), [&](Communicator& communicator) {
    const TopK best = top_k(share(queries, GetParam().queries, communicator.rank()),
                            share(gallery, GetParam().gallery, communicator.rank()), 7, communicator);
    const std::lock_guard<std::mutex> lock(reporting);
    int64_t first = 0;
    for (int r = 0; r < communicator.rank(); ++r) first += GetParam().queries[static_cast<size_t>(r)];
    const int64_t mine = GetParam().queries[static_cast<size_t>(communicator.rank())];
    ASSERT_EQ(best.index.sizes().vec(), (std::vector<int64_t>{mine, 7}));
    for (int64_t q = 0; q < mine; ++q) {
      const std::vector<int64_t> truth = true_ranking(queries, first + q, gallery);
      const auto* row = best.index.const_data_ptr<int64_t>() + q * 7;
      EXPECT_EQ(std::vector<int64_t>(row, row + 7), std::vector<int64_t>(truth.begin(), truth.begin() + 7));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Worlds, Cuts,
                         testing::Values(Cut{{301}, {2311}}, Cut{{151, 150}, {1156, 1155}},
                                         Cut{{101, 100, 100}, {0, 2311, 0}}, Cut{{0, 7, 294, 0}, {1024, 1, 1280, 6}},
                                         Cut{{76, 75, 75, 75}, {578, 578, 578, 577}}));

TEST(TopK, ScoresAreCosinesAndEndWithTheGallery) {
  const EmbeddingRows queries = exact_rows(3, 20, 3, 1);
  const EmbeddingRows gallery = exact_rows(5, 20, 3, 2);
  LocalCommunicator alone;
  const TopK best = top_k(queries, gallery, 10, alone);
  ASSERT_EQ(best.score.sizes().vec(), (std::vector<int64_t>{3, 5}));
  for (int64_t q = 0; q < 3; ++q) {
    for (int64_t k = 0; k < 5; ++k) {
      const at::Tensor a = queries.features[q];
      const at::Tensor b = gallery.features[best.index[q][k].item<int64_t>()];
      const double cosine = a.dot(b).item<double>() / a.norm().item<double>() / b.norm().item<double>();
      EXPECT_FLOAT_EQ(best.score[q][k].item<float>(), static_cast<float>(cosine));
    }
  }
}

TEST(RetrievalErrors, NonFiniteRowsAreCountedOverRanks) {
  EmbeddingRows queries = exact_rows(6, 20, 3, 1);
  EmbeddingRows gallery = exact_rows(8, 20, 3, 2);
  queries.features[1][2] = NAN;
  queries.features[5][0] = INFINITY;
  gallery.features[7][19] = -INFINITY;
  for (const int64_t mine : {1, 3}) {
    try {
      run_ranks(2, [&](Communicator& communicator) {
        evaluate_retrieval(share(queries, {mine, 6 - mine}, communicator.rank()),
                           share(gallery, {4, 4}, communicator.rank()), communicator);
      });
      FAIL() << "accepted";
    } catch (const NonFiniteError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("2 of 6 query rows and 1 of 8 gallery rows hold NaN or infinity"));
      EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("\n")));
    }
  }
}

TEST(RetrievalErrors, WidthsMustAgree) {
  const EmbeddingRows queries = exact_rows(6, 20, 3, 1);
  const EmbeddingRows gallery = exact_rows(6, 24, 3, 1);
  LocalCommunicator alone;
  EXPECT_THROW(evaluate_retrieval(queries, gallery, alone), DataError);
  EXPECT_THROW(top_k(queries, gallery, 1, alone), DataError);
}

// IRRA's rank() (github.com/anosorae/IRRA, utils/metrics.py) in NumPy and float64, with a stable sort.
constexpr const char* kIrraRank = R"(
import json, sys
import numpy as np
from safetensors.numpy import load_file
t = load_file(sys.argv[1])
q, g = (t[k].astype(np.float64) for k in ('queries', 'gallery'))
q /= np.linalg.norm(q, axis=1, keepdims=True)
g /= np.linalg.norm(g, axis=1, keepdims=True)
indices = np.argsort(-(q @ g.T), axis=1, kind='stable')
matches = t['gallery_identity'][indices] == t['query_identity'][:, None]
matches = matches[matches.any(1)]
cmc = np.minimum(matches[:, :10].cumsum(1), 1).mean(0) * 100
running = matches.cumsum(1)
inp = [running[i][row.nonzero()[0][-1]] / (row.nonzero()[0][-1] + 1.) for i, row in enumerate(matches)]
precision = running / np.arange(1, matches.shape[1] + 1) * matches
ap = precision.sum(1) / matches.sum(1)
json.dump({'r1': cmc[0], 'r5': cmc[4], 'r10': cmc[9], 'map': ap.mean() * 100, 'minp': np.mean(inp) * 100,
           'queries': len(matches)}, open(sys.argv[2], 'w'))
)";

TEST(EvaluateRetrieval, EqualsIrrasEvaluator) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  const EmbeddingRows queries = exact_rows(kQueries, 20, 500, 12);
  const EmbeddingRows gallery = exact_rows(kGallery, 20, 480, 13);
  write_safetensors(folder / "rows.safetensors", {{"queries", queries.features},
                                                  {"query_identity", queries.identity},
                                                  {"gallery", gallery.features},
                                                  {"gallery_identity", gallery.identity}});
  run_reference_python(kIrraRank, {folder / "rows.safetensors", folder / "metrics.json"});
  std::ifstream file(folder / "metrics.json");
  const nlohmann::json irra = nlohmann::json::parse(file);
  const RetrievalMetrics made = evaluate_alone(queries, gallery).text_to_image;
  EXPECT_NEAR(made.r1, irra["r1"], 1e-9);
  EXPECT_NEAR(made.r5, irra["r5"], 1e-9);
  EXPECT_NEAR(made.r10, irra["r10"], 1e-9);
  EXPECT_NEAR(made.map, irra["map"], 1e-9);
  EXPECT_NEAR(made.minp, irra["minp"], 1e-9);
  EXPECT_EQ(made.queries, irra["queries"].get<int64_t>());
}

TEST(RetrievalTable, AsTheFieldPrintsIt) {
  const RetrievalMetrics text_to_image{73.38, 89.93, 93.71, 66.13, 50.24, 6156, 3074, 0};
  const RetrievalMetrics image_to_text{100, 9.9949, 0, 0.005, 1, 3074, 6156, 2};
  EXPECT_EQ(format_retrieval_table(text_to_image, image_to_text),
            "%                 R@1     R@5    R@10     mAP    mINP   queries   gallery\n"
            "text to image   73.38   89.93   93.71   66.13   50.24      6156      3074\n"
            "image to text  100.00    9.99    0.00    0.01    1.00      3074      6156\n"
            "left out, having no positive in the gallery: 0 captions, 2 images\n");
}

}  // namespace
}  // namespace muster
