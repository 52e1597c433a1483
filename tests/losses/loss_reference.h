// The whole batch as one graph in double: every loss written from its formula with LibTorch's autograd, B x B matrices
// and all. What the engine is compared with.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "trainer/losses/objective.h"

namespace muster::loss_test {

inline Objective parse_objective(const std::string& text) {
  Objective objective;
  if (!google::protobuf::TextFormat::ParseFromString(text, &objective)) throw std::invalid_argument(text);
  return objective;
}

struct Batch {
  at::Tensor image;     // [B, d]
  at::Tensor text;      // [B, d]
  at::Tensor identity;  // [B]
};

// Captions resemble their images a little, and images of an identity each other; rows have lengths between about 0.1
// and
// 10. All rows share a direction, as trained features do, so that cosines are close: few rows far apart saturate the
// softmax at a high scale, and of p - 1 nothing is left that any implementation could be compared in.
inline Batch make_batch(int64_t size, int64_t width, int64_t identities, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto normal = [&](int64_t rows) { return at::randn({rows, width}, generator, at::kDouble); };
  const at::Tensor identity = at::randint(identities, {size}, generator, at::kLong);
  const at::Tensor common = normal(identities).index_select(0, identity) * 0.4 + normal(1) * 2;
  const at::Tensor image = common + normal(size);
  const at::Tensor text = image * 0.2 + common * 0.8 + normal(size);
  const auto lengths = [&] { return at::randn({size, 1}, generator, at::kDouble).exp(); };
  return {image * lengths(), text * lengths(), identity * 1000003 - 17};
}

// Rows of signs: with a width of 16 every cosine is an exact multiple of 1/8, so ties are many and exact.
inline Batch make_ties(int64_t size, int64_t identities, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto signs = [&](double share) {
    return at::where(at::rand({size, 16}, generator, at::kDouble) < share, -1.0, 1.0);
  };
  const at::Tensor image = signs(0.5);
  return {image, image * signs(0.1), at::randint(identities, {size}, generator, at::kLong)};
}

struct Answer {
  double value = 0;
  std::vector<double> terms;
  at::Tensor d_image;
  at::Tensor d_text;
  double d_log_scale = 0;
};

inline at::Tensor info_nce(const at::Tensor& logits, const at::Tensor& y) {
  const auto direction = [](const at::Tensor& x, const at::Tensor& t) {
    return -(t / t.sum(1, true) * at::log_softmax(x, 1)).sum(1).mean();
  };
  return (direction(logits, y) + direction(logits.t(), y.t())) / 2;
}

inline at::Tensor sdm(const at::Tensor& logits, const at::Tensor& y, double epsilon) {
  const auto direction = [epsilon](const at::Tensor& x, const at::Tensor& t) {
    const at::Tensor log_p = at::log_softmax(x, 1);
    return (log_p.exp() * (log_p - (t / t.sum(1, true) + epsilon).log())).sum(1).mean();
  };
  return direction(logits, y) + direction(logits.t(), y.t());
}

// Of equal cosines the one with the lowest index.
inline at::Tensor lowest_argmax(const at::Tensor& s) {
  const at::Tensor indices = at::zeros({s.size(0), 1}, at::kLong);
  const at::Tensor rows = s.detach().contiguous();
  for (int64_t i = 0; i < s.size(0); ++i) {
    const double* row = rows.const_data_ptr<double>() + i * s.size(1);
    indices.data_ptr<int64_t>()[i] = std::max_element(row, row + s.size(1)) - row;
  }
  return indices;
}

inline at::Tensor triplet(const at::Tensor& cosines, const at::Tensor& excluded, const Triplet& config) {
  const auto direction = [&](const at::Tensor& s, const at::Tensor& no_negative) {
    const at::Tensor hardest = std::get<0>(s.masked_fill(no_negative, -std::numeric_limits<double>::infinity()).max(1));
    const at::Tensor hinge = at::relu(config.margin() - s.diagonal() + hardest);
    return config.reduction() == Triplet::SUM ? hinge.sum() : hinge.mean();
  };
  return direction(cosines, excluded) + direction(cosines.t(), excluded.t());
}

inline at::Tensor unit(const at::Tensor& rows) {
  const at::Tensor norm = at::linalg_vector_norm(rows, 2, {1}, true);
  const at::Tensor is_zero = norm.detach() == 0;
  return at::where(is_zero, at::zeros_like(rows), rows / norm.masked_fill(is_zero, 1.0));
}

inline Answer reference(const Objective& config, const Batch& batch, double log_scale) {
  const at::AutoGradMode grad(true);
  const at::Tensor image = batch.image.detach().to(at::kDouble).clone().requires_grad_(true);
  const at::Tensor text = batch.text.detach().to(at::kDouble).clone().requires_grad_(true);
  const at::Tensor log = at::full({}, log_scale, at::kDouble).requires_grad_(true);
  const at::Tensor cosines = unit(image).mm(unit(text).t());
  const at::Tensor same = batch.identity.unsqueeze(1) == batch.identity.unsqueeze(0);
  const at::Tensor pair = at::eye(batch.identity.size(0), at::kBool);
  const auto logits = [&](const auto& loss) {
    return loss.has_temperature() ? cosines / loss.temperature() : cosines * log.exp();
  };
  Answer answer;
  at::Tensor total = at::zeros({}, at::kDouble) + 0 * log + 0 * cosines.sum();
  for (const Term& term : config.term()) {
    at::Tensor value;
    if (term.has_info_nce()) {
      const at::Tensor y = term.info_nce().positives() == PAIR ? pair : same;
      value = info_nce(logits(term.info_nce()), y.to(at::kDouble));
    } else if (term.has_sdm()) {
      value = sdm(logits(term.sdm()), same.to(at::kDouble), term.sdm().epsilon());
    } else {
      value = triplet(cosines, term.triplet().exclude() == PAIR ? pair : same, term.triplet());
    }
    answer.terms.push_back(value.item<double>());
    total = total + term.weight() * value;
  }
  total.backward();
  answer.value = total.item<double>();
  answer.d_image = image.grad();
  answer.d_text = text.grad();
  answer.d_log_scale = log.grad().item<double>();
  return answer;
}

// This rank's rows of a batch, as features of the given dtype.
inline std::pair<Features, Labels> slice(const Batch& batch, const std::vector<int64_t>& rows, int rank,
                                         at::ScalarType dtype) {
  const int64_t first = std::accumulate(rows.begin(), rows.begin() + rank, int64_t{0});
  const int64_t count = rows[static_cast<size_t>(rank)];
  Features features;
  features.pairs.push_back(
      {"global", batch.image.narrow(0, first, count).to(dtype), batch.text.narrow(0, first, count).to(dtype)});
  Labels labels;
  labels.identity = batch.identity.narrow(0, first, count);
  return {std::move(features), std::move(labels)};
}

// What the objective gives on this rank's rows, against the same rows of the reference. The scale's share is summed
// over ranks here, by the communicator given.
struct Errors {
  double value = 0;
  double gradient = 0;
};

inline double relative_error(double got, double expected, double floor) {
  const double error = std::fabs(got - expected) / std::max(std::fabs(expected), floor);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

inline double largest(const at::Tensor& t) {
  return t.numel() == 0 ? 0 : t.abs().max().item<double>();
}

inline Errors compare(const LossResult& result, const Answer& expected, const std::vector<int64_t>& rows, int rank,
                      double d_log_scale) {
  const int64_t first = std::accumulate(rows.begin(), rows.begin() + rank, int64_t{0});
  const int64_t count = rows[static_cast<size_t>(rank)];
  const double floor =
      1e-3 * std::max({largest(expected.d_image), largest(expected.d_text), std::fabs(expected.d_log_scale), 1e-30});
  Errors errors;
  errors.value = relative_error(result.value, expected.value, 1e-3);
  for (size_t i = 0; i < expected.terms.size(); ++i) {
    errors.value = std::max(errors.value, relative_error(result.terms.at(i), expected.terms[i], 1e-3));
  }
  const auto add = [&](const at::Tensor& got, const at::Tensor& whole) {
    const at::Tensor difference = got.to(at::kDouble) - whole.narrow(0, first, count);
    const double error = largest(difference) / std::max(largest(whole), floor);
    errors.gradient = std::max(errors.gradient, std::isnan(error) ? std::numeric_limits<double>::infinity() : error);
  };
  add(result.gradient.pairs.at(0).image, expected.d_image);
  add(result.gradient.pairs.at(0).text, expected.d_text);
  errors.gradient = std::max(errors.gradient, relative_error(d_log_scale, expected.d_log_scale, floor));
  return errors;
}

// evaluate() and compare() on one rank. `sums` adds up the scale's shares (it may be another communicator than the one
// under test).
inline Errors errors_on_rank(const Objective& config, const TileShape& shape, const Batch& batch,
                             const Answer& expected, double log_scale, const std::vector<int64_t>& rows,
                             at::ScalarType dtype, Communicator& communicator, Communicator& sums) {
  LossObjective objective(config, shape);
  objective.set_log_scale(log_scale);
  const auto [features, labels] = slice(batch, rows, communicator.rank(), dtype);
  const LossResult result = objective.evaluate(features, labels, {}, communicator);
  const at::Tensor share = at::zeros({1}, at::kDouble);
  if (!result.parameter_grads.empty()) share.fill_(result.parameter_grads.at(0));
  sums.all_reduce(share, ReduceOp::kSum, "test.scale").wait();
  return compare(result, expected, rows, communicator.rank(), share.item<double>());
}

// How `size` rows can lie on the ranks: evenly, all on one, and with ranks that have none or one.
inline std::vector<std::vector<int64_t>> ways_to_cut(int64_t size, int ranks) {
  std::vector<std::vector<int64_t>> ways = {split_rows(size, ranks)};
  if (ranks > 1) {
    ways.emplace_back(static_cast<size_t>(ranks), 0);
    ways.back()[1] = size;
  }
  if (ranks > 2 && size > 5) {
    ways.push_back({size - 4, 0, 3});
    ways.back().resize(static_cast<size_t>(ranks), 0);
    ways.back().back() += 1;
  }
  return ways;
}

inline const std::vector<std::string>& objectives() {
  static const std::vector<std::string> all = {
      "term { info_nce {} }",
      "term { weight: 0.5 info_nce { positives: IDENTITY } }",
      "term { info_nce { positives: IDENTITY temperature: 0.05 } }",
      "term { sdm {} }",
      "term { sdm { temperature: 0.02 epsilon: 1e-6 } }",
      "term { triplet { margin: 0.2 } }",
      "term { triplet { margin: 0.3 exclude: PAIR reduction: SUM } }",
      "term { weight: 1 info_nce {} } term { weight: 0.7 sdm { temperature: 0.02 } } term { weight: 10 triplet {} } "
      "term { weight: -0.3 sdm {} } term { weight: 2 triplet { exclude: PAIR margin: 0.4 reduction: SUM } } "
      "term { weight: 0.2 info_nce { positives: IDENTITY } }",
  };
  return all;
}

}  // namespace muster::loss_test
