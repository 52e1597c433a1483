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
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/softmax.h>
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

#include "comm/local_communicator.h"
#include "trainer/losses/objective.h"

namespace muster::loss_test {

inline Objective parse_objective(const std::string& text) {
  Objective objective;
  if (!google::protobuf::TextFormat::ParseFromString(text, &objective)) throw std::invalid_argument(text);
  return objective;
}

struct Batch {
  at::Tensor image;        // [B, d]
  at::Tensor text;         // [B, d]
  at::Tensor identity;     // [B]
  at::Tensor weight;       // [B], undefined: none
  at::Tensor local_image;  // [B, e], the pair "local"; undefined: only the pair "global"
  at::Tensor local_text;   // [B, e]

  Batch to(at::ScalarType dtype) const {
    const auto cast = [&](const at::Tensor& t) { return t.defined() ? t.to(dtype) : t; };
    return {cast(image), cast(text), identity, weight, cast(local_image), cast(local_text)};
  }
  Batch weighted(uint64_t seed) const {
    at::Generator generator = at::detail::createCPUGenerator(seed);
    Batch batch = *this;
    batch.weight = at::rand({identity.size(0)}, generator, at::kDouble) + 0.1;
    if (identity.size(0) > 2) batch.weight[1].zero_();
    return batch;
  }
};

// Captions resemble their images a little, and images of an identity each other; rows have lengths between about 0.1
// and
// 10. All rows share a direction, as trained features do, so that cosines are close: few rows far apart saturate the
// softmax at a high scale, and of p - 1 nothing is left that any implementation could be compared in.
inline Batch make_batch(int64_t size, int64_t width, int64_t identities, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const at::Tensor identity = at::randint(identities, {size}, generator, at::kLong);
  const auto features = [&](int64_t d) {
    const auto normal = [&](int64_t rows) { return at::randn({rows, d}, generator, at::kDouble); };
    const at::Tensor common = normal(identities).index_select(0, identity) * 0.4 + normal(1) * 2;
    const at::Tensor image = common + normal(size);
    const at::Tensor text = image * 0.2 + common * 0.8 + normal(size);
    const auto lengths = [&] { return at::randn({size, 1}, generator, at::kDouble).exp(); };
    return std::pair(image * lengths(), text * lengths());
  };
  const auto [image, text] = features(width);
  const auto [local_image, local_text] = features(width / 2 + 1);
  return {image, text, identity * 1000003 - 17, {}, local_image, local_text};
}

// Rows of signs: with a width of 16 every cosine is an exact multiple of 1/8, so ties are many and exact.
inline Batch make_ties(int64_t size, int64_t identities, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto signs = [&](double share) {
    return at::where(at::rand({size, 16}, generator, at::kDouble) < share, -1.0, 1.0);
  };
  const at::Tensor image = signs(0.5);
  const at::Tensor text = image * signs(0.1);
  const at::Tensor identity = at::randint(identities, {size}, generator, at::kLong);
  const at::Tensor local = signs(0.3);
  return {image, text, identity, {}, local, local * signs(0.2)};
}

struct Answer {
  double value = 0;
  std::vector<double> terms;
  at::Tensor d_image;
  at::Tensor d_text;
  at::Tensor d_local_image;
  at::Tensor d_local_text;
  double d_log_scale = 0;
  double d_bias = 0;
};

// One direction of each loss: from its matrix, anchors as rows, to one number an anchor, [B].

inline at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& y) {
  return -(y / y.sum(1, true) * at::log_softmax(logits, 1)).sum(1);
}

// With `share` of the targets from the softmax itself, as a constant.
inline at::Tensor self_targeted(const at::Tensor& logits, const at::Tensor& y, double share) {
  const at::Tensor log_p = at::log_softmax(logits, 1);
  return -((share * log_p.detach().exp() + (1 - share) * y / y.sum(1, true)) * log_p).sum(1);
}

// Each positive against the negatives alone.
inline at::Tensor nt_xent(const at::Tensor& x, const at::Tensor& positive) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const at::Tensor has_negatives = positive.logical_not().any(1, true);
  const at::Tensor negatives = x.masked_fill(positive.logical_and(has_negatives), -kInfinity);
  const at::Tensor losses = -at::log_sigmoid(x - at::logsumexp(negatives, {1}, true));
  return losses.masked_fill(positive.logical_not(), 0).sum(1) / positive.sum(1) * has_negatives.squeeze(1);
}

inline at::Tensor reverse_kl(const at::Tensor& logits, const at::Tensor& targets, double epsilon) {
  const at::Tensor log_p = at::log_softmax(logits, 1);
  return (log_p.exp() * (log_p - (targets + epsilon).log())).sum(1);
}

inline at::Tensor sigmoid_loss(const at::Tensor& logits, const at::Tensor& y) {
  return -at::log_sigmoid((2 * y - 1) * logits).sum(1);
}

inline at::Tensor triplet(const at::Tensor& s, const at::Tensor& excluded, const Triplet& config) {
  if (config.negatives() == Triplet::ALL) {
    return at::relu(config.margin() - s.diagonal().unsqueeze(1) + s).masked_fill(excluded, 0).sum(1);
  }
  if (config.negatives() == Triplet::SOFT) {
    const at::Tensor has_negatives = excluded.logical_not().any(1, true);
    const at::Tensor negatives =
        s.masked_fill(excluded.logical_and(has_negatives), -std::numeric_limits<double>::infinity());
    const double tau = config.temperature();
    const at::Tensor k = excluded.logical_not().sum(1).clamp(1, config.top_k());
    const at::Tensor soft = tau * (at::logsumexp(negatives / tau, {1}) - k.to(s.scalar_type()).log());
    return at::relu(config.margin() - s.diagonal() + soft) * has_negatives.squeeze(1);
  }
  const at::Tensor hardest = std::get<0>(s.masked_fill(excluded, -std::numeric_limits<double>::infinity()).max(1));
  return at::relu(config.margin() - s.diagonal() + hardest);
}

inline at::Tensor tal(const at::Tensor& s, const at::Tensor& positive, const Tal& config) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double tau = config.temperature();
  const at::Tensor a = at::softmax(s.masked_fill(positive.logical_not(), -kInfinity) / tau, 1).detach();
  const at::Tensor has_negatives = positive.logical_not().any(1, true);
  const at::Tensor negatives = s.masked_fill(positive.logical_and(has_negatives), -kInfinity);
  const at::Tensor negative =
      config.negatives() == Tal::HARDEST ? negatives.amax(1) : tau * at::logsumexp(negatives / tau, {1});
  const at::Tensor hinge = at::relu(config.margin() - (a * s).sum(1) + negative);
  return hinge * has_negatives.squeeze(1);
}

// KL divergence from the teacher's softmax, which is a constant.
inline at::Tensor list_net(const at::Tensor& s, const at::Tensor& teacher, const ListNet& config) {
  const at::Tensor log_q = at::log_softmax(teacher.detach() / config.teacher_temperature(), 1);
  return (log_q.exp() * (log_q - at::log_softmax(s / config.temperature(), 1))).sum(1);
}

inline at::Tensor is_zero_row(const at::Tensor& rows) {
  return at::linalg_vector_norm(rows.detach(), 2, {1}, true) == 0;
}

inline at::Tensor unit(const at::Tensor& rows) {
  const at::Tensor norm = at::linalg_vector_norm(rows, 2, {1}, true);
  const at::Tensor is_zero = is_zero_row(rows);
  return at::where(is_zero, at::zeros_like(rows), rows / norm.masked_fill(is_zero, 1.0));
}

// Zero rows stay zero: no gradient.
inline at::Tensor raw(const at::Tensor& rows) {
  return at::where(is_zero_row(rows), at::zeros_like(rows), rows);
}

// The leaves of the graph.
struct Leaves {
  at::Tensor image;
  at::Tensor text;
  at::Tensor log_scale;
  at::Tensor bias;
};

// One term on the whole batch, from the scores [B, B] of its pairs; weight [B] of the anchors. Losses of scores alone.
inline at::Tensor term_of_scores(const Term& term, const at::Tensor& scores, const at::Tensor& log_scale,
                                 const at::Tensor& bias, const at::Tensor& identity, const at::Tensor& weight) {
  const at::Tensor same = identity.unsqueeze(1) == identity.unsqueeze(0);
  const at::Tensor pair = at::eye(identity.size(0), at::kBool);
  const at::Tensor y = same.to(at::kDouble);
  const auto chosen = [&](Positives positives) { return positives == PAIR ? pair : same; };
  const auto logits = [&](const auto& loss) {
    return loss.has_temperature() ? scores / loss.temperature() : scores * log_scale.exp();
  };
  const double weights = weight.sum().item<double>();
  const auto sum = [&](const at::Tensor& rows, const at::Tensor& columns) { return (weight * (rows + columns)).sum(); };
  const auto mean = [&](const at::Tensor& rows, const at::Tensor& columns) {
    return sum(rows, columns) / (weights == 0 ? 1 : weights);
  };
  const auto reduce = [&](Reduction reduction, const at::Tensor& rows, const at::Tensor& columns) {
    return reduction == SUM ? sum(rows, columns) : mean(rows, columns);
  };
  if (term.has_info_nce()) {
    const at::Tensor x = logits(term.info_nce());
    const at::Tensor targets = chosen(term.info_nce().positives()).to(at::kDouble);
    const double share = term.info_nce().self_target();
    if (share > 0) return mean(self_targeted(x, targets, share), self_targeted(x.t(), targets, share)) / 2;
    return mean(cross_entropy(x, targets), cross_entropy(x.t(), targets)) / 2;
  }
  if (term.has_nt_xent()) {
    const at::Tensor x = logits(term.nt_xent());
    return mean(nt_xent(x, same), nt_xent(x.t(), same)) / 2;
  }
  if (term.has_sdm()) {
    const at::Tensor x = logits(term.sdm());
    const at::Tensor targets = y / y.sum(1, true);
    return mean(reverse_kl(x, targets, term.sdm().epsilon()), reverse_kl(x.t(), targets, term.sdm().epsilon()));
  }
  if (term.has_siglip()) {
    const at::Tensor x = logits(term.siglip()) + bias;
    const at::Tensor targets = chosen(term.siglip().positives()).to(at::kDouble);
    return mean(sigmoid_loss(x, targets), sigmoid_loss(x.t(), targets)) / 2;
  }
  if (term.has_tal()) {
    return reduce(term.tal().reduction(), tal(scores, same, term.tal()), tal(scores.t(), same, term.tal()));
  }
  if (!term.has_triplet()) throw std::invalid_argument(term.DebugString());
  const at::Tensor excluded = chosen(term.triplet().exclude());
  return reduce(term.triplet().reduction(), triplet(scores, excluded, term.triplet()),
                triplet(scores.t(), excluded, term.triplet()));
}

inline at::Tensor term_value(const Term& term, const Leaves& leaves, const at::Tensor& identity,
                             const at::Tensor& weight) {
  const at::Tensor image = unit(leaves.image), text = unit(leaves.text), cosines = image.mm(text.t());
  const double weights = weight.sum().item<double>();
  const auto mean = [&](const at::Tensor& anchors) { return (weight * anchors).sum() / (weights == 0 ? 1 : weights); };
  if (term.has_cyclic()) {
    const at::Tensor in_modal = image.mm(image.t()) - text.mm(text.t()), cross_modal = cosines - cosines.t();
    const at::Tensor pairs =
        term.cyclic().in_modal() * in_modal.square() + term.cyclic().cross_modal() * cross_modal.square();
    return mean(pairs.mean(1));
  }
  if (!term.has_cmpm()) return term_of_scores(term, cosines, leaves.log_scale, leaves.bias, identity, weight);
  const at::Tensor y = (identity.unsqueeze(1) == identity.unsqueeze(0)).to(at::kDouble);
  const at::Tensor targets = y / at::linalg_vector_norm(y, 2, {1}, true);
  const auto one_way = [&](const at::Tensor& anchors, const at::Tensor& others) {
    return reverse_kl(raw(anchors).mm(others.t()), targets, term.cmpm().epsilon());
  };
  return mean(one_way(leaves.image, text) + one_way(leaves.text, image));
}

// The bias is the config's.
inline Answer reference(const Objective& config, const Batch& batch, double log_scale) {
  const at::AutoGradMode grad(true);
  const auto leaf = [](const at::Tensor& t) { return t.detach().to(at::kDouble).clone().requires_grad_(true); };
  const at::Tensor log = leaf(at::full({}, log_scale, at::kDouble));
  const at::Tensor bias = leaf(at::full({}, config.logit_bias().init(), at::kDouble));
  const Leaves global{leaf(batch.image), leaf(batch.text), log, bias};
  const bool has_local = batch.local_image.defined();
  const Leaves local{leaf(has_local ? batch.local_image : batch.image), leaf(has_local ? batch.local_text : batch.text),
                     log, bias};
  const at::Tensor weight =
      batch.weight.defined() ? batch.weight.to(at::kDouble) : at::ones({batch.identity.size(0)}, at::kDouble);
  at::Tensor total = 0 * (log + bias + global.image.sum() + global.text.sum() + local.image.sum() + local.text.sum());
  Answer answer;
  for (const Term& term : config.term()) {
    const Leaves& own = term.pair() == "local" ? local : global;
    at::Tensor value;
    if (term.has_list_net()) {
      const Leaves& teacher = term.list_net().teacher() == "local" ? local : global;
      const at::Tensor s = unit(own.image).mm(unit(own.text).t()), t = unit(teacher.image).mm(unit(teacher.text).t());
      const double weights = weight.sum().item<double>();
      value = (weight * (list_net(s, t, term.list_net()) + list_net(s.t(), t.t(), term.list_net()))).sum() /
              (weights == 0 ? 1 : weights);
    } else {
      value = term_value(term, own, batch.identity, weight);
    }
    answer.terms.push_back(value.item<double>());
    total = total + term.weight() * value;
  }
  total.backward();
  answer.value = total.item<double>();
  answer.d_image = global.image.grad();
  answer.d_text = global.text.grad();
  answer.d_local_image = local.image.grad();
  answer.d_local_text = local.text.grad();
  answer.d_log_scale = log.grad().item<double>();
  answer.d_bias = bias.grad().item<double>();
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
  if (batch.local_image.defined()) {
    features.pairs.push_back({"local", batch.local_image.narrow(0, first, count).to(dtype),
                              batch.local_text.narrow(0, first, count).to(dtype)});
  }
  Labels labels;
  labels.identity = batch.identity.narrow(0, first, count);
  if (batch.weight.defined()) labels.weight = batch.weight.narrow(0, first, count);
  return {std::move(features), std::move(labels)};
}

// What the objective gives on this rank's rows, against the same rows of the reference. The shares of its own
// parameters are summed over ranks here, by the communicator given.
struct Errors {
  double value = 0;
  double gradient = 0;
};

// Gradients of the objective's own parameters, summed over ranks; 0 where there is no such parameter.
struct ParameterGradients {
  double log_scale = 0;
  double bias = 0;
};

inline double relative_error(double got, double expected, double floor) {
  const double error = std::fabs(got - expected) / std::max(std::fabs(expected), floor);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

inline double largest(const at::Tensor& t) {
  return t.numel() == 0 ? 0 : t.abs().max().item<double>();
}

inline Errors compare(const LossResult& result, const Answer& expected, const std::vector<int64_t>& rows, int rank,
                      const ParameterGradients& parameters) {
  const int64_t first = std::accumulate(rows.begin(), rows.begin() + rank, int64_t{0});
  const int64_t count = rows[static_cast<size_t>(rank)];
  const double floor = 1e-3 * std::max({largest(expected.d_image), largest(expected.d_text),
                                        largest(expected.d_local_image), largest(expected.d_local_text),
                                        std::fabs(expected.d_log_scale), std::fabs(expected.d_bias), 1e-30});
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
  if (result.gradient.pairs.size() > 1) {
    add(result.gradient.pairs.at(1).image, expected.d_local_image);
    add(result.gradient.pairs.at(1).text, expected.d_local_text);
  }
  errors.gradient = std::max({errors.gradient, relative_error(parameters.log_scale, expected.d_log_scale, floor),
                              relative_error(parameters.bias, expected.d_bias, floor)});
  return errors;
}

inline ParameterGradients sum_parameters(const LossObjective& objective, const LossResult& result,
                                         Communicator& communicator) {
  const at::Tensor shares = at::zeros({2}, at::kDouble);
  for (size_t i = 0; i < objective.parameters().size(); ++i) {
    shares[objective.parameters()[i].first == "objective.log_scale" ? 0 : 1].fill_(result.parameter_grads.at(i));
  }
  communicator.all_reduce(shares, ReduceOp::kSum, "test.parameters").wait();
  return {shares[0].item<double>(), shares[1].item<double>()};
}

// evaluate() and compare() on one rank. `sums` adds up the parameters' shares (it may be another communicator than the
// one under test).
inline Errors errors_on_rank(const Objective& config, const TileShape& shape, const Batch& batch,
                             const Answer& expected, double log_scale, const std::vector<int64_t>& rows,
                             at::ScalarType dtype, Communicator& communicator, Communicator& sums,
                             const LossDevice& device = {}) {
  LossObjective objective(config, shape, device);
  objective.set_log_scale(log_scale);
  const auto [features, labels] = slice(batch, rows, communicator.rank(), dtype);
  const LossResult result = objective.evaluate(features, labels, {}, communicator);
  return compare(result, expected, rows, communicator.rank(), sum_parameters(objective, result, sums));
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

// Each loss in each of its forms. The last two hold all of them, the last one on two pairs of features.
inline const std::vector<std::string>& objectives() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> list = {
        "term { info_nce {} }",
        "term { weight: 0.5 info_nce { positives: IDENTITY } }",
        "term { info_nce { positives: IDENTITY temperature: 0.05 } }",
        "term { info_nce { positives: IDENTITY self_target: 0.4 } }",
        "term { weight: 2 info_nce { self_target: 0.7 temperature: 0.05 } }",
        "term { nt_xent {} }",
        "term { weight: 0.7 nt_xent { temperature: 0.04 } }",
        "term { sdm {} }",
        "term { sdm { temperature: 0.02 epsilon: 1e-6 } }",
        "term { triplet { margin: 0.2 } }",
        "term { triplet { margin: 0.3 exclude: PAIR reduction: SUM } }",
        "term { triplet { margin: 0.2 negatives: ALL } }",
        "term { triplet { margin: 0.25 negatives: ALL exclude: PAIR reduction: SUM } }",
        "term { triplet { margin: 0.2 negatives: SOFT } }",
        "term { triplet { margin: 0.3 negatives: SOFT temperature: 0.05 top_k: 4 } }",
        "term { triplet { margin: 0.3 negatives: SOFT exclude: PAIR reduction: SUM top_k: 2 } }",
        "term { triplet { margin: 0.6 negatives: SOFT temperature: 0.1 top_k: 1000000 } }",
        "logit_bias { init: -16.5 } term { siglip {} }",
        "logit_bias { init: -3.25 } term { siglip { positives: IDENTITY temperature: 0.2 } }",
        "term { cmpm {} }",
        "term { weight: 3 cmpm { epsilon: 1e-4 } }",
        "term { tal {} }",
        "term { tal { margin: 0.3 temperature: 0.05 reduction: MEAN } }",
        "term { pair: 'local' tal { temperature: 0.02 } }",
        "term { tal { margin: 0.2 temperature: 0.02 negatives: HARDEST } }",
        "term { tal { margin: 0.3 temperature: 0.05 negatives: HARDEST reduction: MEAN } }",
        // Beside another term, as of a batch of one it has nothing but rounding to compare.
        "logit_bias { init: -3.25 } term { siglip { temperature: 1 } } term { weight: 5 cyclic {} }",
        "logit_bias { init: -3.25 } term { siglip { temperature: 1 } } term { weight: 5 cyclic { in_modal: 0 "
        "cross_modal: 1 } }",
        "logit_bias { init: -3.25 } term { siglip { temperature: 1 } } term { pair: 'local' weight: 5 cyclic { "
        "cross_modal: 0 } }",
    };
    const std::string sum =
        "logit_bias { init: -16.5 } "
        "term { weight: 1 info_nce {} } term { weight: 0.7 sdm { temperature: 0.02 } } term { weight: 10 triplet {} } "
        "term { weight: 0.3 sdm {} } term { weight: 2 triplet { exclude: PAIR margin: 0.4 reduction: SUM } } "
        "term { weight: 0.2 info_nce { positives: IDENTITY } } term { weight: 0.5 siglip {} } term { tal {} } "
        "term { weight: 0.01 triplet { negatives: ALL } } term { weight: 4 triplet { negatives: SOFT top_k: 3 } } "
        "term { weight: 0.6 nt_xent {} } term { weight: 0.4 info_nce { positives: IDENTITY self_target: 0.5 } } "
        "term { weight: 8 cyclic {} } ";
    list.push_back(sum);
    list.push_back(
        sum +
        "term { weight: 2 cmpm {} } term { pair: 'local' weight: 2 sdm {} } "
        "term { pair: 'local' weight: 0.4 cmpm {} } term { pair: 'local' weight: 4 tal {} } "
        "term { pair: 'local' nt_xent { temperature: 0.1 } } term { pair: 'local' cyclic { in_modal: 0.75 } }");
    return list;
  }();
  return all;
}

// The engine itself, in a world of one and on small ragged tiles.
inline LossResult evaluate(const std::string& text, const Batch& batch, at::ScalarType dtype) {
  LocalCommunicator local;
  LossObjective objective(parse_objective(text), TileShape{5, 4, 3});
  const auto [features, labels] = slice(batch, {batch.identity.size(0)}, 0, dtype);
  return objective.evaluate(features, labels, {}, local);
}

}  // namespace muster::loss_test
