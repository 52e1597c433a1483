// From a term of the config to its loss: each loss's file describes itself, so that the objective knows no loss by
// name.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "launch/checks.h"
#include "trainer/losses/pair_loss.h"

namespace muster {

class Cmpm;
class InfoNce;
class NtXent;
class Sdm;
class Siglip;
class Tal;
class Term;
class Triplet;

// The objective's own numbers, as they are at an evaluation.
struct LogitParameters {
  double scale = 1;  // multiplies the cosines
  double bias = 0;
};

struct LossTerm {
  bool uses_logit_scale = false;
  bool uses_logit_bias = false;
  std::function<std::unique_ptr<PairLoss<float>>(const LogitParameters&)> make_float;
  std::function<std::unique_ptr<PairLoss<double>>(const LogitParameters&)> make_double;
};

// A term of the class template Loss, which is made from (Config, LogitParameters).
template <template <typename> class Loss, typename Config>
LossTerm make_loss_term(const Config& config) {
  LossTerm term;
  term.make_float = [config](const LogitParameters& logits) { return std::make_unique<Loss<float>>(config, logits); };
  term.make_double = [config](const LogitParameters& logits) { return std::make_unique<Loss<double>>(config, logits); };
  return term;
}

// One a loss, in its own file. What is impossible goes to `checks`, with `path` in front of the field's name; such a
// term must not be made.
LossTerm describe(const Cmpm& config, const std::string& path, Checks& checks);
LossTerm describe(const InfoNce& config, const std::string& path, Checks& checks);
LossTerm describe(const NtXent& config, const std::string& path, Checks& checks);
LossTerm describe(const Sdm& config, const std::string& path, Checks& checks);
LossTerm describe(const Siglip& config, const std::string& path, Checks& checks);
LossTerm describe(const Tal& config, const std::string& path, Checks& checks);
LossTerm describe(const Triplet& config, const std::string& path, Checks& checks);

// The loss that the term holds, its weight and its pair's name; `path` is the term's.
LossTerm describe(const Term& term, const std::string& path, Checks& checks);

// "info_nce", as in the config; empty if the term holds no loss.
std::string loss_name(const Term& term);

}  // namespace muster
