// The exactness of tests/losses, between processes: every objective, ragged cuts, ranks without rows.
#include <gtest/gtest.h>

#include "comm/mpi_communicator.h"
#include "tests/losses/set_reference.h"

namespace muster {
namespace {

using namespace loss_test;

constexpr double kLogScale = 3.1;

class MpiLosses : public testing::TestWithParam<at::ScalarType> {};

void expect_exact(const Batch& exact, at::ScalarType dtype, const TileShape& shape) {
  const double gate = dtype == at::kDouble ? 1e-12 : 2e-5;
  MpiOptions options;
  options.checked = true;
  const std::unique_ptr<Communicator> communicator = make_mpi_communicator(options);
  const Batch batch = exact.to(dtype);
  const int64_t size = batch.identity.size(0);
  for (const std::string& text : objectives()) {
    const Objective config = parse_objective(text);
    const Answer expected = reference(config, batch, kLogScale);
    for (const std::vector<int64_t>& rows : ways_to_cut(size, communicator->size())) {
      const Errors errors =
          errors_on_rank(config, shape, batch, expected, kLogScale, rows, dtype, *communicator, *communicator);
      EXPECT_LE(errors.value, gate) << text << " B " << size << " rows on rank 0: " << rows[0];
      EXPECT_LE(errors.gradient, gate) << text << " B " << size << " rows on rank 0: " << rows[0];
    }
  }
}

TEST_P(MpiLosses, EqualTheWholeBatchWithRaggedTiles) {
  for (const int64_t size : {1, 2, 3, 7, 49}) {
    expect_exact(make_batch(size, 24, (size + 1) / 2, 203 + static_cast<uint64_t>(size)), GetParam(),
                 TileShape{13, 16, 5});
  }
}

TEST_P(MpiLosses, EqualTheWholeBatchWithOneTile) {
  expect_exact(make_batch(131, 33, 40, 5), GetParam(), TileShape{});
}

TEST_P(MpiLosses, EqualTheWholeBatchWithWeights) {
  expect_exact(make_batch(40, 24, 20, 143).weighted(5), GetParam(), TileShape{13, 16, 5, 3});
}

TEST_P(MpiLosses, GiveTiesToTheLowestIndex) {
  expect_exact(make_ties(21, 9, 3), GetParam(), TileShape{4, 6, 3});
}

TEST_P(MpiLosses, OfSetsEqualTheWholeBatchGatheredAndTravelling) {
  const double gate = GetParam() == at::kDouble ? 1e-12 : 2e-5;
  MpiOptions options;
  options.checked = true;
  const std::unique_ptr<Communicator> communicator = make_mpi_communicator(options);
  for (const int64_t gathered_mib : {512, 0}) {
    AlignmentConfig alignment;
    alignment.set_mode(AlignmentConfig::SYMM);
    alignment.set_gathered_mib(gathered_mib);
    for (const int64_t size : {2, 33}) {
      SetBatch batch = make_sets(size, 12, (size + 1) / 2, alignment, static_cast<uint64_t>(size));
      batch.regions = batch.regions.to(GetParam());
      batch.words = batch.words.to(GetParam());
      for (const std::string& text : set_objectives()) {
        const Answer expected = reference(parse_objective(text), batch);
        for (const std::vector<int64_t>& rows : ways_to_cut(size, communicator->size())) {
          const Errors errors =
              errors_of(parse_objective(text), batch, expected, rows, GetParam(), TileShape{5, 6, 2, 3}, *communicator);
          EXPECT_LE(errors.value, gate) << text << " B " << size << " rows on rank 0: " << rows[0];
          EXPECT_LE(errors.gradient, gate) << text << " B " << size << " rows on rank 0: " << rows[0];
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, MpiLosses, testing::Values(at::kFloat, at::kDouble),
                         [](const auto& tested) { return tested.param == at::kFloat ? "Float" : "Double"; });

// Every rank sees the bad row of one of them.
TEST(MpiLosses, FeaturesThatAreNotFiniteShowOnEveryRank) {
  const std::unique_ptr<Communicator> communicator = make_mpi_communicator(MpiOptions());
  const Batch batch = make_batch(9, 6, 4, 2);
  batch.text[8][3].fill_(std::nan(""));
  const std::string on_one_pair = objectives()[objectives().size() - 2];
  LossObjective objective(parse_objective(on_one_pair), TileShape{2, 3, 2});
  const auto [features, labels] = slice(batch, split_rows(9, communicator->size()), communicator->rank(), at::kFloat);
  const LossResult result = objective.evaluate(features, labels, {}, *communicator);
  EXPECT_TRUE(std::isnan(result.value));
  for (const double term : result.terms) EXPECT_TRUE(std::isnan(term));
}

}  // namespace
}  // namespace muster
