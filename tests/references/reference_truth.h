// The reference losses as one graph in double, from their formulas: what the bank is compared with.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "trainer/references/reference_bank.h"

namespace muster::reference_test {

inline ReferencesConfig parse(const std::string& text) {
  ReferencesConfig config;
  if (!google::protobuf::TextFormat::ParseFromString(text, &config)) throw std::invalid_argument(text);
  return config;
}

struct Setting {
  at::Tensor image, text;    // [B, d] double
  at::Tensor identity;       // [B]
  at::Tensor bank_identity;  // [m], each per_identity times
  at::Tensor bank;           // [m, d] double, unit rows, in the order of bank_identity
  at::Tensor weight;         // [B] or undefined
  int64_t per_identity = 1;
  LossDevice device = {};
};

inline Setting make_setting(int64_t samples, int64_t identities, int64_t width, uint64_t seed,
                            int64_t per_identity = 1) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto normal = [&](int64_t rows) { return at::randn({rows, width}, generator, at::kDouble); };
  const at::Tensor which = at::randint(identities, {samples}, generator, at::kLong) * per_identity;
  const at::Tensor bank_identity = (at::arange(identities, at::kLong) * 1000003 - 17).repeat_interleave(per_identity);
  const at::Tensor shared = normal(1) * 2;
  const at::Tensor bank = normal(identities * per_identity) + shared;
  const at::Tensor common = bank.index_select(0, which);
  return {common + normal(samples),
          common + normal(samples) * 2,
          bank_identity.index_select(0, which),
          bank_identity,
          bank / bank.norm(2, {1}, true),
          {},
          per_identity,
          {}};
}

inline std::vector<int64_t> ids_of(const Setting& setting) {
  const int64_t* data = setting.bank_identity.const_data_ptr<int64_t>();
  return {data, data + setting.bank_identity.size(0)};
}

inline ReferenceBank make_bank(const Setting& setting, const ReferencesConfig& config, at::ScalarType dtype,
                               Communicator& communicator) {
  ReferenceBank bank(config, ids_of(setting), setting.bank.size(1), 7, setting.identity.size(0), communicator, dtype,
                     TileShape{5, 4, 3, 2}, setting.device);
  const at::Tensor slot = at::arange(setting.bank.size(0), at::kLong).remainder(setting.per_identity);
  bank.take_rows({{"rows", setting.bank.to(dtype)}, {"identity", setting.bank_identity}, {"slot", slot}});
  return bank;
}

inline std::vector<std::vector<int64_t>> cuts(int64_t samples, int ranks) {
  std::vector<std::vector<int64_t>> all = {split_rows(samples, ranks)};
  std::vector<int64_t> ragged(static_cast<size_t>(ranks), 0);
  ragged.back() = samples;
  all.push_back(ragged);
  return all;
}

struct Truth {
  double value = 0;
  at::Tensor d_image, d_text;  // [B, d], times the guidance weight
  at::Tensor d_bank;           // [m, d] in the order of bank_identity, times the fusion weight
};

// [B] cross-entropies of one side of the batch: minus the log of what the softmax gives the own references together.
inline at::Tensor cross_entropies(const at::Tensor& features, const at::Tensor& bank, const Setting& setting,
                                  const ReferencesConfig& config) {
  const at::Tensor unit = features / features.norm(2, {1}, true);
  const at::Tensor cosines = unit.mm((bank / bank.norm(2, {1}, true)).t());
  at::Tensor logits = cosines / config.temperature();
  if (config.negatives() == ReferencesConfig::BATCH) {
    const at::Tensor present = (setting.bank_identity.unsqueeze(1) == setting.identity.unsqueeze(0)).any(1);
    logits = logits.masked_fill(present.logical_not(), -std::numeric_limits<double>::infinity());
  }
  const at::Tensor own = setting.identity.unsqueeze(1) == setting.bank_identity.unsqueeze(0);
  const double nothing = -std::numeric_limits<double>::infinity();
  return -at::log_softmax(logits, 1).masked_fill(own.logical_not(), nothing).logsumexp({1});
}

inline at::Tensor whole_value(const at::Tensor& image, const at::Tensor& text, const at::Tensor& bank,
                              const Setting& setting, const ReferencesConfig& config) {
  const at::Tensor weight = setting.weight.defined() ? setting.weight : at::ones({image.size(0)}, at::kDouble);
  return (weight * (cross_entropies(image, bank, setting, config) + cross_entropies(text, bank, setting, config)))
             .sum() /
         (2 * weight.sum());
}

inline Truth whole_batch(const Setting& setting, const ReferencesConfig& config, at::ScalarType dtype, double guidance,
                         double fusion) {
  const at::AutoGradMode graph(true);
  const auto leaf = [&](const at::Tensor& t) { return t.to(dtype).to(at::kDouble).clone().requires_grad_(true); };
  const at::Tensor image = leaf(setting.image), text = leaf(setting.text), bank = leaf(setting.bank);
  const at::Tensor value = whole_value(image, text, bank, setting, config);
  value.backward();
  return {value.item<double>(), image.grad() * guidance, text.grad() * guidance, bank.grad() * fusion};
}

struct Evaluated {
  std::unique_ptr<ReferenceBank> bank;
  ReferenceResult result;
  double squared_norm = 0;
};

inline ReferenceResult evaluate_slice(ReferenceBank& bank, const Setting& setting, const std::vector<int64_t>& rows,
                                      Communicator& communicator, double epoch = 1) {
  const int64_t first = std::accumulate(rows.begin(), rows.begin() + communicator.rank(), int64_t{0});
  const int64_t count = rows[static_cast<size_t>(communicator.rank())];
  const auto cut = [&](const at::Tensor& t) { return t.narrow(0, first, count); };
  const at::ScalarType dtype = bank.rows().scalar_type();
  Labels labels;
  labels.identity = cut(setting.identity);
  if (setting.weight.defined()) labels.weight = cut(setting.weight);
  return bank.evaluate({"global", cut(setting.image).to(dtype), cut(setting.text).to(dtype)}, labels, {0, epoch});
}

inline Evaluated evaluate(const Setting& setting, const ReferencesConfig& config, const std::vector<int64_t>& rows,
                          at::ScalarType dtype, Communicator& communicator) {
  Evaluated evaluated;
  evaluated.bank = std::make_unique<ReferenceBank>(make_bank(setting, config, dtype, communicator));
  evaluated.result = evaluate_slice(*evaluated.bank, setting, rows, communicator);
  evaluated.squared_norm = evaluated.bank->finish_gradient();
  return evaluated;
}

inline double relative(const at::Tensor& got, const at::Tensor& expected, double largest) {
  if (got.numel() == 0) return 0;
  return (got.to(at::kDouble) - expected).abs().max().item<double>() / largest;
}

// The worst of value, features' gradients, references' gradient and its norm on this rank.
inline double error_on_rank(const Setting& setting, const ReferencesConfig& config, const Truth& truth,
                            const std::vector<int64_t>& rows, at::ScalarType dtype, Communicator& communicator) {
  const Evaluated got = evaluate(setting, config, rows, dtype, communicator);
  const int64_t first = std::accumulate(rows.begin(), rows.begin() + communicator.rank(), int64_t{0});
  const int64_t count = rows[static_cast<size_t>(communicator.rank())];
  const double largest = std::max(truth.d_image.abs().max().item<double>(), truth.d_text.abs().max().item<double>());
  double worst = std::fabs(got.result.value - truth.value) / std::max(truth.value, 1e-3);
  worst = std::max(worst, relative(got.result.d_image, truth.d_image.narrow(0, first, count), largest));
  worst = std::max(worst, relative(got.result.d_text, truth.d_text.narrow(0, first, count), largest));
  const double largest_of_bank = truth.d_bank.abs().max().item<double>();
  const at::Tensor gradient = got.bank->gradient();
  for (int64_t i = 0; i < gradient.size(0); ++i) {
    const int64_t identity = got.bank->order().identity_of(got.bank->first_row() + i);
    const int64_t slot = (got.bank->first_row() + i) % setting.per_identity;
    const int64_t place = (identity + 17) / 1000003 * setting.per_identity + slot;
    worst = std::max(worst, relative(gradient[i], truth.d_bank[place], largest_of_bank));
  }
  const double norm = truth.d_bank.square().sum().item<double>();
  return std::max(worst, std::fabs(got.squared_norm - norm) / norm);
}

// Central differences of whole_value() against the bank's gradients, relative to the largest.
inline double finite_difference_error(const Setting& setting, const ReferencesConfig& config,
                                      Communicator& communicator) {
  ReferenceBank bank = make_bank(setting, config, at::kDouble, communicator);
  const ReferenceResult result = evaluate_slice(bank, setting, {setting.identity.size(0)}, communicator);
  bank.finish_gradient();
  const auto value = [&](const at::Tensor& image, const at::Tensor& references) {
    return whole_value(image, setting.text, references, setting, config).item<double>();
  };
  constexpr double kStep = 1e-5;
  double worst = 0;
  for (int64_t i = 0; i < setting.image.size(0); ++i) {
    for (int64_t j = 0; j < setting.image.size(1); ++j) {
      at::Tensor up = setting.image.clone(), down = setting.image.clone();
      up[i][j] += kStep;
      down[i][j] -= kStep;
      const double slope = (value(up, setting.bank) - value(down, setting.bank)) / (2 * kStep);
      worst = std::max(
          worst, std::fabs(slope - result.d_image[i][j].item<double>()) / result.d_image.abs().max().item<double>());
    }
  }
  const at::Tensor gradient = bank.gradient();
  for (int64_t i = 0; i < setting.bank.size(0); ++i) {
    const int64_t row = bank.order().row_of(setting.bank_identity[i].item<int64_t>()) + i % setting.per_identity;
    for (int64_t j = 0; j < setting.bank.size(1); ++j) {
      at::Tensor up = setting.bank.clone(), down = setting.bank.clone();
      up[i][j] += kStep;
      down[i][j] -= kStep;
      const double slope = (value(setting.image, up) - value(setting.image, down)) / (2 * kStep);
      worst = std::max(worst, std::fabs(slope - gradient[row][j].item<double>()) / gradient.abs().max().item<double>());
    }
  }
  return worst;
}

// Adam as torch.optim.Adam has it, by whole matrices, with the bank's rule of who takes part.
struct AdamTruth {
  AdamTruth(const ReferenceBank& bank, const ReferencesConfig& its_config)
      : config(its_config),
        rows(bank.rows().clone()),
        m(at::zeros_like(rows)),
        v(at::zeros_like(rows)),
        t(at::zeros({rows.size(0), 1}, at::kDouble)) {}

  void step(const ReferenceBank& bank, const at::Tensor& identity, double rate_factor, double gradient_scale) {
    const at::Tensor gradient = bank.gradient() * gradient_scale;
    at::Tensor moves = at::ones({rows.size(0), 1}, at::kBool);
    if (config.negatives() == ReferencesConfig::BATCH && config.update() == ReferencesConfig::LAZY) {
      moves.zero_();
      for (int64_t i = 0; i < identity.size(0); ++i)
        moves.narrow(0, bank.order().row_of(identity[i].item<int64_t>()), bank.order().per_identity()).fill_(true);
    }
    t = t + moves.to(at::kDouble);
    m = at::where(moves, m * config.beta1() + gradient * (1 - config.beta1()), m);
    v = at::where(moves, v * config.beta2() + gradient * gradient * (1 - config.beta2()), v);
    const at::Tensor safe = t.clamp_min(1);
    const at::Tensor m_hat = m / (1 - at::pow(config.beta1(), safe)), v_hat = v / (1 - at::pow(config.beta2(), safe));
    const at::Tensor next = rows - config.rate() * rate_factor * m_hat / (v_hat.sqrt() + config.epsilon());
    rows = at::where(moves, next / next.norm(2, {1}, true), rows);
  }

  ReferencesConfig config;
  at::Tensor rows, m, v, t;
};

}  // namespace muster::reference_test
