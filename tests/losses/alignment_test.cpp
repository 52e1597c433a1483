// Losses on scores of sets (regions and words) against the whole batch in double.
#include <gtest/gtest.h>

#include <mutex>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "launch/error.h"
#include "tests/losses/set_reference.h"

namespace muster {
namespace {

using namespace loss_test;

constexpr double kFloatGate = 2e-5;
constexpr double kDoubleGate = 1e-12;

struct Case {
  int ranks;
  at::ScalarType dtype;
  bool gathered = true;  // the words; else they come one rank's at a time
};

class SetExactness : public testing::TestWithParam<Case> {};

void expect_exact(const SetBatch& exact, const Case& tested, const TileShape& shape) {
  SetBatch batch = exact;
  if (!tested.gathered) batch.alignment.set_gathered_mib(0);
  batch.regions = batch.regions.to(tested.dtype);
  batch.words = batch.words.to(tested.dtype);
  const double gate = tested.dtype == at::kDouble ? kDoubleGate : kFloatGate;
  const int64_t size = batch.identity.size(0);
  std::vector<Answer> expected;
  for (const std::string& text : set_objectives()) expected.push_back(reference(parse_objective(text), batch));
  for (const std::vector<int64_t>& rows : ways_to_cut(size, tested.ranks)) {
    std::mutex mutex;
    std::vector<Errors> worst(expected.size());
    run_ranks(tested.ranks, [&](Communicator& communicator) {
      for (size_t i = 0; i < expected.size(); ++i) {
        const Errors errors = errors_of(parse_objective(set_objectives()[i]), batch, expected[i], rows, tested.dtype,
                                        shape, communicator);
        const std::lock_guard lock(mutex);
        worst[i].value = std::max(worst[i].value, errors.value);
        worst[i].gradient = std::max(worst[i].gradient, errors.gradient);
      }
    });
    for (size_t i = 0; i < expected.size(); ++i) {
      const std::string where =
          set_objectives()[i] + " B " + std::to_string(size) + " rows on rank 0: " + std::to_string(rows[0]);
      EXPECT_LE(worst[i].value, gate) << where;
      EXPECT_LE(worst[i].gradient, gate) << where;
    }
  }
}

TEST_P(SetExactness, EqualsTheWholeBatchWithRaggedTiles) {
  uint64_t seed = 1;
  for (const AlignmentConfig& alignment : alignments()) {
    for (const int64_t size : {1, 2, 3, 7, 33}) {
      expect_exact(make_sets(size, 12, (size + 1) / 2, alignment, ++seed), GetParam(), TileShape{5, 6, 2, 3});
    }
  }
}

TEST_P(SetExactness, EqualsTheWholeBatchWithDefaultTiles) {
  expect_exact(make_sets(GetParam().dtype == at::kFloat ? 257 : 64, 9, 200, {}, 77), GetParam(), TileShape{});
}

INSTANTIATE_TEST_SUITE_P(Ranks, SetExactness,
                         testing::Values(Case{1, at::kFloat}, Case{2, at::kFloat}, Case{3, at::kFloat},
                                         Case{4, at::kFloat}, Case{1, at::kDouble}, Case{2, at::kDouble},
                                         Case{3, at::kDouble}, Case{4, at::kDouble}, Case{2, at::kDouble, false},
                                         Case{3, at::kFloat, false}, Case{4, at::kDouble, false}),
                         [](const auto& tested) {
                           return std::to_string(tested.param.ranks) +
                                  (tested.param.dtype == at::kFloat ? "Float" : "Double") +
                                  (tested.param.gathered ? "" : "Travelling");
                         });

double value_of(const Objective& config, const SetBatch& batch) {
  LocalCommunicator local;
  LossObjective objective(with_alignment(config, batch));
  objective.set_log_scale(kSetLogScale);
  const SetSlice own = slice_sets(batch, {batch.identity.size(0)}, 0, at::kDouble);
  return objective.evaluate(own.features, own.labels, {}, local).value;
}

TEST(Sets, GradientsAreFiniteDifferences) {
  for (const AlignmentConfig& alignment : alignments()) {
    const SetBatch batch = make_sets(9, 6, 6, alignment, 5);
    for (const std::string& text : set_objectives()) {
      Objective config = parse_objective(text);
      // A term with a part that counts as a constant has another slope than its gradient.
      for (Term& term : *config.mutable_term()) term.set_weight(term.has_tal() ? 0 : term.weight());
      LocalCommunicator local;
      LossObjective objective(with_alignment(config, batch));
      objective.set_log_scale(kSetLogScale);
      const SetSlice own = slice_sets(batch, {9}, 0, at::kDouble);
      const LossResult result = objective.evaluate(own.features, own.labels, {}, local);
      for (const auto& [rows, gradient] : {std::pair{batch.regions, result.gradient.pairs[0].image},
                                           std::pair{batch.words, result.gradient.pairs[0].text}}) {
        for (int64_t row = 3; row < rows.size(0); row += 4) {
          double* number = rows.mutable_data_ptr<double>() + row * 6 + row % 6;
          const double kept = *number, step = 1e-6;
          *number = kept + step;
          const double above = value_of(config, batch);
          *number = kept - step;
          const double below = value_of(config, batch);
          *number = kept;
          EXPECT_NEAR(gradient[row][row % 6].item<double>(), (above - below) / (2 * step), 1e-6) << text;
        }
      }
    }
  }
}

// Of an evaluation over 8 ranks, handed to collectives together.
int64_t bytes_of(const std::string& objective, const SetBatch& batch) {
  constexpr int kRanks = 8;
  std::mutex mutex;
  int64_t bytes = 0;
  run_ranks(kRanks, [&](Communicator& communicator) {
    const SetSlice own = slice_sets(batch, std::vector<int64_t>(kRanks, 8), communicator.rank(), at::kFloat);
    LossObjective(parse_objective(objective)).evaluate(own.features, own.labels, {}, communicator);
    const std::lock_guard lock(mutex);
    bytes += communicator.bytes_started();
  });
  return bytes;
}

// Each rank has at most 3 / 8 of the captions in its pairs.
TEST(Sets, LossesOfFewPairsSendFewRowsHome) {
  const SetBatch batch = make_sets(64, 64, 64, {}, 5);
  const int64_t few = bytes_of("term { triplet {} }", batch),
                all = bytes_of("term { triplet { negatives: ALL } }", batch);
  EXPECT_LT(few, all / 2) << few << " of " << all << " bytes";
}

TEST(Sets, WordsAreGatheredUpToTheirLimit) {
  const SetBatch batch = make_sets(64, 4096, 64, {}, 5);
  const int64_t mib = (sum(batch.sizes.text) * 4096 * 4 + (1 << 20) - 1) >> 20;
  const std::string term = "term { triplet { negatives: ALL } } alignment { gathered_mib: ";
  const int64_t at_once = bytes_of(term + std::to_string(mib) + " }", batch);
  const int64_t again = bytes_of(term + std::to_string(mib - 1) + " }", batch);
  // At once each rank hands its own to all, on the ring all but those of the rank after it to that rank, in each of two
  // passes; a gradient of its own stays there.
  const int64_t words = sum(batch.sizes.text) * 4096 * 4;
  EXPECT_EQ(again - at_once, (2 * 7 - 1) * words - words);
}

// Captions in the same words are equally hard: whatever order they come in, the first one has the gradient.
TEST(Sets, TravellingWordsGiveTiesToTheLowestIndex) {
  constexpr int kRanks = 3;
  SetBatch batch = make_sets(10, 6, 10, {}, 5);
  batch.identity = at::arange(10, at::kLong);
  batch.sizes.text.assign(10, 2);
  // Whole numbers: products have the same bits whatever tile they are in.
  batch.regions = (4 * batch.regions).round();
  batch.words = (4 * batch.words.narrow(0, 3, 2)).round().repeat({10, 1});
  std::vector<at::Tensor> gradients[2];
  for (const int travels : {0, 1}) {
    gradients[travels].resize(kRanks);
    if (travels == 1) batch.alignment.set_gathered_mib(0);
    run_ranks(kRanks, [&](Communicator& communicator) {
      const SetSlice own = slice_sets(batch, {3, 2, 5}, communicator.rank(), at::kDouble);
      LossObjective objective(with_alignment(parse_objective("term { triplet { margin: 0.5 } }"), batch));
      const LossResult result = objective.evaluate(own.features, own.labels, {}, communicator);
      gradients[travels][static_cast<size_t>(communicator.rank())] = result.gradient.pairs[0].text;
    });
  }
  const at::Tensor at_once = at::cat(gradients[0]);
  EXPECT_GT(largest(at_once), 1e-3);
  EXPECT_LE(largest(at_once - at::cat(gradients[1])), 1e-15);
}

TEST(Sets, ALossOfFeaturesThemselvesIsRefusedByName) {
  const SetBatch batch = make_sets(4, 6, 4, {}, 5);
  LocalCommunicator local;
  for (const std::string name : {"cmpm", "cyclic"}) {
    LossObjective objective(parse_objective("term { " + name + " {} }"));
    const SetSlice own = slice_sets(batch, {4}, 0, at::kFloat);
    try {
      objective.evaluate(own.features, own.labels, {}, local);
      FAIL();
    } catch (const ConfigError& error) {
      EXPECT_NE(std::string(error.what()).find("objective.term[0] is " + name), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace muster
