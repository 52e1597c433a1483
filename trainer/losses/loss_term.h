// From a term of the config to its loss: each loss's file describes itself, so that the objective knows no loss by
// name.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>

#include "launch/checks.h"
#include "trainer/losses/feature_loss.h"
#include "trainer/losses/pair_loss.h"

namespace muster {

class Cmpm;
class Cyclic;
class InfoNce;
class ListNet;
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

// Of a loss over pairs, made anew for each evaluation, at which training is in `epoch`; or of one of whole matrices.
struct LossTerm {
  bool uses_logit_scale = false;
  bool uses_logit_bias = false;
  std::string teacher;  // the pair of features whose scores it takes as constants; empty: none
  // Of a loss that can get stuck where all scores are equal: its value there, times the batch if it sums; 0: none.
  double collapsed = 0;
  bool collapsed_sums = false;
  std::function<std::unique_ptr<PairLoss<float>>(const LogitParameters&, double epoch)> make_float;
  std::function<std::unique_ptr<PairLoss<double>>(const LogitParameters&, double epoch)> make_double;
  std::shared_ptr<const FeatureLoss> whole;
};

// A term of the class template Loss, which is made from (Config, LogitParameters) or, if it changes with the epoch,
// from (Config, LogitParameters, epoch).
template <template <typename> class Loss, typename Config>
LossTerm make_loss_term(const Config& config) {
  const auto make = [config](auto number, const LogitParameters& logits, double epoch) {
    using Made = Loss<decltype(number)>;
    if constexpr (std::is_constructible_v<Made, Config, LogitParameters, double>) {
      return std::make_unique<Made>(config, logits, epoch);
    } else {
      return std::make_unique<Made>(config, logits);
    }
  };
  LossTerm term;
  term.make_float = [make](const LogitParameters& logits, double epoch) { return make(float{}, logits, epoch); };
  term.make_double = [make](const LogitParameters& logits, double epoch) { return make(double{}, logits, epoch); };
  return term;
}

// One a loss, in its own file. What is impossible goes to `checks`, with `path` in front of the field's name; such a
// term must not be made.
LossTerm describe(const Cmpm& config, const std::string& path, Checks& checks);
LossTerm describe(const Cyclic& config, const std::string& path, Checks& checks);
LossTerm describe(const InfoNce& config, const std::string& path, Checks& checks);
LossTerm describe(const ListNet& config, const std::string& path, Checks& checks);
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
