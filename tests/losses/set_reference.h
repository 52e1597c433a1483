// Losses on scores of sets (regions and words) in double, where the scores are one dense B x B matrix made of B x B
// blocks of cosines by autograd: an independent truth for any ranks.
#pragma once

#include <ATen/ops/cat.h>
#include <ATen/ops/tensordot.h>

#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "tests/losses/loss_reference.h"

namespace muster::loss_test {

constexpr double kSetLogScale = 0.7;

struct SetBatch {
  at::Tensor regions;  // [sum, d]
  at::Tensor words;
  SetSizes sizes;
  at::Tensor identity;
  AlignmentConfig alignment;
};

// Ragged: 1 to 5 regions and 0 to 7 words a sample; some samples are of one image, and some rows are zero.
inline SetBatch make_sets(int64_t size, int64_t width, int64_t images, const AlignmentConfig& alignment,
                          uint64_t seed) {
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
inline std::pair<at::Tensor, at::Tensor> padded(const at::Tensor& rows, const std::vector<int64_t>& sizes) {
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
inline at::Tensor scores_of(const at::Tensor& regions, const at::Tensor& words, const SetBatch& batch) {
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

inline Answer reference(const Objective& config, const SetBatch& batch) {
  const at::AutoGradMode grad(true);
  const at::Tensor regions = batch.regions.detach().to(at::kDouble).clone().requires_grad_(true);
  const at::Tensor words = batch.words.detach().to(at::kDouble).clone().requires_grad_(true);
  const at::Tensor log_scale = at::full({}, kSetLogScale, at::kDouble).requires_grad_(true);
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

inline std::vector<int64_t> part(const std::vector<int64_t>& all, int64_t first, int64_t count) {
  return {all.begin() + first, all.begin() + first + count};
}
inline int64_t sum(const std::vector<int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
}

struct SetSlice {
  Features features;
  Labels labels;
  std::vector<int64_t> regions;  // of each rank
  std::vector<int64_t> words;
};

inline SetSlice slice_sets(const SetBatch& batch, const std::vector<int64_t>& rows, int rank, at::ScalarType dtype) {
  SetSlice slice;
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

inline Objective with_alignment(Objective config, const SetBatch& batch) {
  *config.mutable_alignment() = batch.alignment;
  return config;
}

inline Errors errors_of(const Objective& config, const SetBatch& batch, const Answer& expected,
                        const std::vector<int64_t>& rows, at::ScalarType dtype, const TileShape& shape,
                        Communicator& communicator) {
  LossObjective objective(with_alignment(config, batch), shape);
  objective.set_log_scale(kSetLogScale);
  const SetSlice own = slice_sets(batch, rows, communicator.rank(), dtype);
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

inline const std::vector<std::string>& set_objectives() {
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

inline std::vector<AlignmentConfig> alignments() {
  std::vector<AlignmentConfig> all(5);
  all[1].set_mode(AlignmentConfig::MWSR);
  all[2].set_mode(AlignmentConfig::SYMM);
  all[3].set_mode(AlignmentConfig::MRAVGW);
  all[4].set_mode(AlignmentConfig::SYMM);
  all[4].set_floor_at_zero(true);
  return all;
}

}  // namespace muster::loss_test
