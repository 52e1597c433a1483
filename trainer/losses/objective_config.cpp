#include "trainer/losses/objective_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "launch/checks.h"
#include "launch/error.h"
#include "trainer/losses/loss_term.h"

namespace muster {
namespace {

void check_scale(const LogitScale& scale, Checks& checks) {
  checks.require(scale.max() >= 1 && std::isfinite(scale.max()), "objective.logit_scale.max", scale.max(), "1 or more");
  if (!scale.learnable()) return checks.positive("objective.logit_scale.init", scale.init());
  checks.require(scale.init() > 0 && scale.init() <= scale.max(), "objective.logit_scale.init", scale.init(),
                 fmt::format("more than 0, at most logit_scale.max ({})", scale.max()));
  if (scale.init() > 0 && scale.init() < 1) {
    checks.add(
        fmt::format("objective.logit_scale.init is {}: a learnable scale is kept between 1 and max; give 1 or "
                    "more, or learnable: false",
                    scale.init()));
  }
}

void check_alignment(const AlignmentConfig& config, Checks& checks) {
  checks.at_least<int64_t>(0, "objective.alignment.gathered_mib", config.gathered_mib());
  const bool over_words = config.mode() == AlignmentConfig::MWSR || config.mode() == AlignmentConfig::SYMM;
  if (!config.floor_at_zero() || over_words) return;
  checks.add(fmt::format(
      "objective.alignment.floor_at_zero is of the best words of regions, of which mode {} has none; leave it out",
      AlignmentConfig::Mode_Name(config.mode())));
}

// At each step there must be a term that counts and has a weight.
void check_steps(const Objective& config, Checks& checks) {
  std::vector<int64_t> steps = {0};
  for (int i = 0; i < config.term_size(); ++i) {
    const Term& term = config.term(i);
    checks.at_least<int64_t>(0, term_path(i) + ".begin_step", term.begin_step());
    if (!term.has_end_step()) continue;
    checks.require(term.end_step() > term.begin_step(), term_path(i) + ".end_step", term.end_step(),
                   fmt::format("more than begin_step ({})", term.begin_step()));
    steps.push_back(term.end_step());
  }
  std::sort(steps.begin(), steps.end());
  for (const int64_t step : steps) {
    const bool any = std::any_of(config.term().begin(), config.term().end(), [&](const Term& term) {
      return term.weight() != 0 && counts(term, std::max<int64_t>(step, 0));
    });
    if (any || config.term().empty()) continue;
    checks.add(fmt::format(
        "objective has no term that counts at step {}: let one's begin_step and end_step reach over it", step));
    return;
  }
}

// A pair that teaches is not taught itself.
void check_teachers(const Objective& config, const std::vector<LossTerm>& terms, Checks& checks) {
  for (int i = 0; i < config.term_size(); ++i) {
    const std::string& teacher = terms[static_cast<size_t>(i)].teacher;
    if (teacher.empty()) continue;
    for (int j = 0; j < config.term_size(); ++j) {
      if (config.term(j).pair() != teacher || terms[static_cast<size_t>(j)].teacher.empty()) continue;
      checks.add(fmt::format("{} is taught by the pair \"{}\", which {} teaches: name another teacher or pair",
                             term_path(i), teacher, term_path(j)));
    }
  }
}

// Checks the whole objective and returns what its terms are.
std::vector<LossTerm> check_terms(const Objective& config, Checks& checks) {
  if (config.term().empty()) {
    checks.add("objective has no term: give at least one, such as objective { term { info_nce { } } }");
  }
  std::vector<LossTerm> terms;
  bool any_weight = config.term().empty();
  for (int i = 0; i < config.term_size(); ++i) {
    terms.push_back(describe(config.term(i), term_path(i), checks));
    any_weight |= config.term(i).weight() != 0;
  }
  if (!any_weight) checks.add("objective has only terms of weight 0: give one of them a weight");
  if (any_weight) check_steps(config, checks);
  check_teachers(config, terms, checks);
  check_scale(config.logit_scale(), checks);
  check_alignment(config.alignment(), checks);
  checks.require(std::isfinite(config.logit_bias().init()), "objective.logit_bias.init", config.logit_bias().init(),
                 "a finite number");
  return terms;
}

}  // namespace

std::string term_path(int index) {
  return fmt::format("objective.term[{}]", index);
}

bool counts(const Term& term, int64_t step) {
  return step >= term.begin_step() && (!term.has_end_step() || step < term.end_step());
}

std::vector<LossTerm> describe_terms(const Objective& config) {
  Checks checks;
  std::vector<LossTerm> terms = check_terms(config, checks);
  const std::vector<std::string> problems = checks.take();
  if (!problems.empty()) throw ConfigError(fmt::format("{}", fmt::join(problems, "\n")));
  return terms;
}

std::vector<std::string> name_terms(const Objective& config) {
  std::vector<std::string> names;
  for (const Term& term : config.term()) {
    const std::string name = loss_name(term) + (term.pair() == "global" ? "" : "." + term.pair());
    const bool repeated = std::find(names.begin(), names.end(), name) != names.end();
    names.push_back(repeated ? fmt::format("{}_{}", name, names.size()) : name);
  }
  return names;
}

Alignment make_alignment(const AlignmentConfig& config) {
  Alignment alignment;
  alignment.over_regions = config.mode() != AlignmentConfig::MWSR;
  alignment.over_words = config.mode() == AlignmentConfig::MWSR || config.mode() == AlignmentConfig::SYMM;
  alignment.mean_over_words = config.mode() == AlignmentConfig::MRAVGW;
  alignment.floor_at_zero = config.floor_at_zero();
  return alignment;
}

std::string teacher_of(const Term& term) {
  Checks checks;
  return describe(term, "", checks).teacher;
}

std::vector<std::string> find_problems(const Objective& config) {
  Checks checks;
  check_terms(config, checks);
  return checks.take();
}

bool trains_pair(const Objective& config, const std::string& pair) {
  return std::any_of(config.term().begin(), config.term().end(),
                     [&](const Term& term) { return term.pair() == pair && term.weight() > 0; });
}

}  // namespace muster
