// Losses on scores of sets (regions and words) against the whole batch in double, where the scores are one dense
// B x B matrix made of B x B blocks of cosines by autograd.
#include <gtest/gtest.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/tensordot.h>

#include <functional>
#include <mutex>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "launch/error.h"
#include "tests/losses/loss_reference.h"

namespace muster {
namespace {

using namespace loss_test;

constexpr double kLogScale = 0.7;
constexpr double kFloatGate = 2e-5;
constexpr double kDoubleGate = 1e-12;

struct SetBatch {
  at::Tensor regions;  // [sum, d]
  at::Tensor words;
  SetSizes sizes;
  at::Tensor identity;
  AlignmentConfig alignment;
};

// Ragged: 1 to 5 regions and 0 to 7 words a sample; some samples are of one image, and some rows are zero.
SetBatch make_sets(int64_t size, int64_t width, int64_t images, const AlignmentConfig& alignment, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto draw = [&](int64_t low, int64_t high) {
    const at::Tensor drawn = at::randint(low, high + 1, {size}, generator, at::kLong);
    return std::vector<int64_t>(drawn.const_data_ptr<int64_t>(), drawn.const_data_ptr<int64_t>() + size);
  };
  SetBatch batch{
      {}, {}, {draw(1, 5), draw(0, 7)}, at::randint(images, {size}, generator, at::kLong) * 7 - 3, alignment};
  const auto rows = [&](const std::vector<int64_t>& sizes) {
    const int64_t count = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
    const at::Tensor common = at::randn({1, width}, generator, at::kDouble);
    return (at::randn({count, width}, generator, at::kDouble) + 0.5 * common) *
           at::randn({count, 1}, generator, at::kDouble).exp();
  };
  batch.regions = rows(batch.sizes.image);
  batch.words = rows(batch.sizes.text);
  if (batch.words.size(0) > 3) batch.words[2].zero_();
  if (batch.regions.size(0) > 3) batch.regions[1].zero_();
  return batch;
}

// Rows of sets as [sets, most, d], and where there is one [sets, most].
std::pair<at::Tensor, at::Tensor> padded(const at::Tensor& rows, const std::vector<int64_t>& sizes) {
  const int64_t most = std::max(int64_t{1}, *std::max_element(sizes.begin(), sizes.end()));
  const auto sets = static_cast<int64_t>(sizes.size());
  const at::Tensor index = at::zeros({sets, most}, at::kLong), there = at::zeros({sets, most}, at::kBool);
  int64_t row = 0;
  for (int64_t i = 0; i < sets; ++i) {
    for (int64_t k = 0; k < sizes[static_cast<size_t>(i)]; ++k, ++row) {
      index[i][k].fill_(row);
      there[i][k].fill_(true);
    }
  }
  const at::Tensor with_one = at::cat({rows, at::zeros({1, rows.size(1)}, at::kDouble)});
  return {with_one.index_select(0, index.view({-1})).view({sets, most, rows.size(1)}), there};
}

// The dense B x B scores, from all cosines [B, regions, B, words] of padded sets.
at::Tensor scores_of(const at::Tensor& regions, const at::Tensor& words, const SetBatch& batch) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto [image, is_region] = padded(unit(regions), batch.sizes.image);
  const auto [text, is_word] = padded(unit(words), batch.sizes.text);
  const at::Tensor a = at::tensordot(image, text, {2}, {2});
  const at::Tensor region = is_region.view({a.size(0), a.size(1), 1, 1});
  const at::Tensor word = is_word.view({1, 1, a.size(2), a.size(3)});
  const at::Tensor count = is_word.sum(1).to(at::kDouble);
  at::Tensor scores = at::zeros({a.size(0), a.size(2)}, at::kDouble);
  const AlignmentConfig::Mode mode = batch.alignment.mode();
  if (mode != AlignmentConfig::MWSR) {
    const at::Tensor best = std::get<0>(a.masked_fill(region.logical_not(), -kInfinity).max(1));
    const at::Tensor sum = best.masked_fill(is_word.unsqueeze(0).logical_not(), 0).sum(2);
    scores = scores + (mode == AlignmentConfig::MRAVGW ? sum / count.clamp_min(1) : sum);
  }
  if (mode == AlignmentConfig::MWSR || mode == AlignmentConfig::SYMM) {
    at::Tensor best = std::get<0>(a.masked_fill(word.logical_not(), -1e3).max(3));
    if (batch.alignment.floor_at_zero()) best = at::where((count < count.max()).view({1, 1, -1}), at::relu(best), best);
    const at::Tensor none = (count == 0).view({1, 1, -1}).logical_or(is_region.unsqueeze(2).logical_not());
    scores = scores + best.masked_fill(none, 0).sum(1);
  }
  return scores;
}

Answer reference(const Objective& config, const SetBatch& batch) {
  const at::AutoGradMode grad(true);
  const at::Tensor regions = batch.regions.detach().to(at::kDouble).clone().requires_grad_(true);
  const at::Tensor words = batch.words.detach().to(at::kDouble).clone().requires_grad_(true);
  const at::Tensor log_scale = at::full({}, kLogScale, at::kDouble).requires_grad_(true);
  const at::Tensor bias = at::full({}, config.logit_bias().init(), at::kDouble).requires_grad_(true);
  const int64_t size = batch.identity.size(0);
  const at::Tensor matrix = scores_of(regions, words, batch);
  at::Tensor total = 0 * (log_scale + bias + regions.sum() + words.sum());
  Answer answer;
  for (const Term& term : config.term()) {
    const at::Tensor value =
        term_of_scores(term, matrix, log_scale, bias, batch.identity, at::ones({size}, at::kDouble));
    answer.terms.push_back(value.item<double>());
    total = total + term.weight() * value;
  }
  total.backward();
  answer.value = total.item<double>();
  answer.d_image = regions.grad();
  answer.d_text = words.grad();
  answer.d_log_scale = log_scale.grad().item<double>();
  answer.d_bias = bias.grad().item<double>();
  return answer;
}

std::vector<int64_t> part(const std::vector<int64_t>& all, int64_t first, int64_t count) {
  return {all.begin() + first, all.begin() + first + count};
}
int64_t sum(const std::vector<int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
}

struct Slice {
  Features features;
  Labels labels;
  std::vector<int64_t> regions;  // of each rank
  std::vector<int64_t> words;
};

Slice slice_sets(const SetBatch& batch, const std::vector<int64_t>& rows, int rank, at::ScalarType dtype) {
  Slice slice;
  int64_t first = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    const SetSizes sets{part(batch.sizes.image, first, rows[r]), part(batch.sizes.text, first, rows[r])};
    if (static_cast<int>(r) == rank) {
      slice.labels.identity = batch.identity.narrow(0, first, rows[r]);
      slice.features.pairs.push_back({"global", batch.regions.narrow(0, sum(slice.regions), sum(sets.image)).to(dtype),
                                      batch.words.narrow(0, sum(slice.words), sum(sets.text)).to(dtype), sets});
    }
    slice.regions.push_back(sum(sets.image));
    slice.words.push_back(sum(sets.text));
    first += rows[r];
  }
  return slice;
}

Objective with_alignment(Objective config, const SetBatch& batch) {
  *config.mutable_alignment() = batch.alignment;
  return config;
}

Errors errors_of(const Objective& config, const SetBatch& batch, const Answer& expected,
                 const std::vector<int64_t>& rows, at::ScalarType dtype, const TileShape& shape,
                 Communicator& communicator) {
  LossObjective objective(with_alignment(config, batch), shape);
  objective.set_log_scale(kLogScale);
  const Slice own = slice_sets(batch, rows, communicator.rank(), dtype);
  const LossResult result = objective.evaluate(own.features, own.labels, {}, communicator);
  const ParameterGradients parameters = sum_parameters(objective, result, communicator);
  const int rank = communicator.rank();
  const auto first = [&](const std::vector<int64_t>& of_rank) { return sum(part(of_rank, 0, rank)); };
  const double floor = 1e-3 * std::max({largest(expected.d_image), largest(expected.d_text), 1e-30});
  Errors errors;
  for (size_t i = 0; i < expected.terms.size(); ++i) {
    errors.value = std::max(errors.value, relative_error(result.terms.at(i), expected.terms[i], 1e-3));
  }
  errors.value = std::max(errors.value, relative_error(result.value, expected.value, 1e-3));
  const auto compare_rows = [&](const at::Tensor& got, const at::Tensor& whole, int64_t begin) {
    const double error =
        largest(got.to(at::kDouble) - whole.narrow(0, begin, got.size(0))) / std::max(largest(whole), floor);
    errors.gradient = std::max(errors.gradient, std::isnan(error) ? std::numeric_limits<double>::infinity() : error);
  };
  compare_rows(result.gradient.pairs[0].image, expected.d_image, first(own.regions));
  compare_rows(result.gradient.pairs[0].text, expected.d_text, first(own.words));
  errors.gradient = std::max({errors.gradient, relative_error(parameters.log_scale, expected.d_log_scale, floor),
                              relative_error(parameters.bias, expected.d_bias, floor)});
  return errors;
}

const std::vector<std::string>& set_objectives() {
  static const std::vector<std::string> all = {
      "term { triplet { margin: 0.2 reduction: SUM } }",
      "term { triplet { margin: 0.2 negatives: ALL reduction: SUM } }",
      "term { info_nce { positives: IDENTITY temperature: 0.5 } }",
      "logit_bias { init: -3 } term { info_nce {} } term { weight: 0.5 sdm {} } term { triplet { exclude: PAIR } } "
      "term { triplet { margin: 0.4 } } term { weight: 0.2 siglip {} } term { nt_xent {} } term { weight: 0.3 tal { "
      "temperature: 0.3 } } term { weight: 0.2 tal { temperature: 0.3 negatives: HARDEST } } term { triplet { "
      "negatives: "
      "SOFT } }",
  };
  return all;
}

std::vector<AlignmentConfig> alignments() {
  std::vector<AlignmentConfig> all(5);
  all[1].set_mode(AlignmentConfig::MWSR);
  all[2].set_mode(AlignmentConfig::SYMM);
  all[3].set_mode(AlignmentConfig::MRAVGW);
  all[4].set_mode(AlignmentConfig::SYMM);
  all[4].set_floor_at_zero(true);
  return all;
}

struct Case {
  int ranks;
  at::ScalarType dtype;
};

class SetExactness : public testing::TestWithParam<Case> {};

void expect_exact(const SetBatch& exact, const Case& tested, const TileShape& shape) {
  SetBatch batch = exact;
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
                                         Case{3, at::kDouble}, Case{4, at::kDouble}),
                         [](const auto& tested) {
                           return std::to_string(tested.param.ranks) +
                                  (tested.param.dtype == at::kFloat ? "Float" : "Double");
                         });

double value_of(const Objective& config, const SetBatch& batch) {
  LocalCommunicator local;
  LossObjective objective(with_alignment(config, batch));
  objective.set_log_scale(kLogScale);
  const Slice own = slice_sets(batch, {batch.identity.size(0)}, 0, at::kDouble);
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
      objective.set_log_scale(kLogScale);
      const Slice own = slice_sets(batch, {9}, 0, at::kDouble);
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

// Of 8 ranks each has at most 3 / 8 of the captions in its pairs.
TEST(Sets, LossesOfFewPairsSendFewRowsHome) {
  constexpr int kRanks = 8;
  const SetBatch batch = make_sets(64, 64, 64, {}, 5);
  const auto bytes_of = [&](const std::string& objective) {
    std::mutex mutex;
    int64_t bytes = 0;
    run_ranks(kRanks, [&](Communicator& communicator) {
      const Slice own = slice_sets(batch, std::vector<int64_t>(kRanks, 8), communicator.rank(), at::kFloat);
      LossObjective(parse_objective(objective)).evaluate(own.features, own.labels, {}, communicator);
      const std::lock_guard lock(mutex);
      bytes += communicator.bytes_started();
    });
    return bytes;
  };
  const int64_t few = bytes_of("term { triplet {} }"), all = bytes_of("term { triplet { negatives: ALL } }");
  EXPECT_LT(few, all / 2) << few << " of " << all << " bytes";
}

TEST(Sets, ALossOfFeaturesThemselvesIsRefusedByName) {
  const SetBatch batch = make_sets(4, 6, 4, {}, 5);
  LocalCommunicator local;
  for (const std::string name : {"cmpm", "cyclic"}) {
    LossObjective objective(parse_objective("term { " + name + " {} }"));
    const Slice own = slice_sets(batch, {4}, 0, at::kFloat);
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
