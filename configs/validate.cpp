#include "configs/validate.h"

#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "configs/load.h"
#include "configs/validate_data.h"
#include "launch/checks.h"
#include "trainer/chunk_search.h"
#include "trainer/clean_pairs.h"
#include "trainer/encoders/model_config.h"
#include "trainer/head_start.h"
#include "trainer/heads/identity_classifier.h"
#include "trainer/heads/image_restoration.h"
#include "trainer/heads/masked_words.h"
#include "trainer/losses/objective.h"
#include "trainer/references/reference_bank.h"
#include "trainer/references/refinement.h"

namespace muster {
namespace {

using google::protobuf::util::MessageDifferencer;

void check_groups(const OptimizerConfig& optimizer, Checks& checks) {
  std::set<std::string> globs;
  for (int i = 0; i < optimizer.group_size(); ++i) {
    const ParameterGroup& group = optimizer.group(i);
    const std::string path = fmt::format("train.optimizer.group[{}]", i);
    if (group.name().empty()) {
      checks.add(path + ".name is not given: give a glob over parameters' names, such as \"image.*\"");
    } else if (!globs.insert(group.name()).second) {
      checks.add(fmt::format("{} has the name \"{}\" of a group before it, which wins: keep one", path, group.name()));
    }
    checks.at_least(0.0, path + ".rate_multiplier", group.rate_multiplier());
    checks.at_least(0.0, path + ".weight_decay", group.weight_decay());
  }
}

void check_optimizer(const OptimizerConfig& optimizer, Checks& checks) {
  checks.at_least(0.0, "train.optimizer.rate", optimizer.rate());
  for (const auto& [name, beta] : {std::pair("beta1", optimizer.beta1()), std::pair("beta2", optimizer.beta2())}) {
    checks.require(beta >= 0 && beta < 1, fmt::format("train.optimizer.{}", name), beta, "0 or more, below 1");
  }
  checks.positive("train.optimizer.epsilon", optimizer.epsilon());
  checks.at_least(0.0, "train.optimizer.weight_decay", optimizer.weight_decay());
  const double layer_decay = optimizer.layer_decay();
  checks.require(layer_decay > 0 && layer_decay <= 1, "train.optimizer.layer_decay", layer_decay,
                 "more than 0, at most 1 (1: none)");
  check_groups(optimizer, checks);
}

void check_length(const TrainConfig& train, Checks& checks) {
  if (train.has_steps() == train.has_epochs()) {
    checks.add(train.has_steps() ? "train.steps and train.epochs are both given: keep one of the two"
                                 : "train.steps and train.epochs are both missing: give one of the two");
  }
  if (train.has_steps()) checks.at_least<int64_t>(1, "train.steps", train.steps());
  if (train.has_epochs()) checks.positive("train.epochs", train.epochs());
}

// Of milestones in steps or in epochs.
template <typename Values>
void check_increasing(const std::string& field, const Values& values, Checks& checks) {
  for (int i = 0; i < values.size(); ++i) {
    if (values[i] > (i == 0 ? 0 : values[i - 1])) continue;
    checks.add(fmt::format("{}[{}] is {}: give increasing values, more than 0", field, i, values[i]));
  }
}

void check_milestones(const ScheduleConfig& schedule, Checks& checks) {
  check_increasing("train.schedule.milestone", schedule.milestone(), checks);
  check_increasing("train.schedule.milestone_epoch", schedule.milestone_epoch(), checks);
  checks.positive("train.schedule.gamma", schedule.gamma());
  const bool steps = !schedule.milestone().empty(), epochs = !schedule.milestone_epoch().empty();
  if (steps && epochs) checks.add("train.schedule.milestone and milestone_epoch are both given: keep one of the two");
  if ((steps || epochs) != (schedule.decay() == ScheduleConfig::STEP)) {
    checks.add(
        "train.schedule: decay STEP and milestones (milestone or milestone_epoch) go together: give both or none");
  }
}

void check_schedule(const TrainConfig& train, Checks& checks) {
  const ScheduleConfig& schedule = train.schedule();
  checks.at_least<int64_t>(0, "train.schedule.warmup_steps", schedule.warmup_steps());
  if (train.has_steps() && schedule.warmup_steps() > train.steps()) {
    checks.add(
        fmt::format("train.schedule.warmup_steps is {} and train.steps {}: the full rate would never be reached; "
                    "give fewer warmup_steps or more steps",
                    schedule.warmup_steps(), train.steps()));
  }
  if (schedule.has_warmup_epochs()) checks.at_least(0.0, "train.schedule.warmup_epochs", schedule.warmup_epochs());
  if (schedule.has_warmup_epochs() && schedule.warmup_steps() > 0) {
    checks.add("train.schedule.warmup_steps and warmup_epochs are both given: keep one of the two");
  }
  const double fraction = schedule.final_fraction(), start = schedule.warmup_start();
  checks.require(start >= 0 && start <= 1, "train.schedule.warmup_start", start, "0 to 1");
  checks.require(fraction >= 0 && fraction <= 1, "train.schedule.final_fraction", fraction, "0 to 1");
  check_milestones(schedule, checks);
}

void check_ema(const EmaConfig& ema, Checks& checks) {
  checks.require(ema.decay() >= 0 && ema.decay() < 1, "train.ema.decay", ema.decay(),
                 "0 (no average) or more, below 1");
}

void check_clean_pairs(const RunConfig& config, Checks& checks) {
  const CleanPairsConfig& clean = config.train().clean_pairs();
  checks.at_least(0, "train.clean_pairs.iterations", clean.iterations(), "0: all pairs count");
  checks.at_least(0.0, "train.clean_pairs.tolerance", clean.tolerance());
  checks.positive("train.clean_pairs.variance_floor", clean.variance_floor());
  if (!divides_pairs(config.train())) return;
  for (int i = 0; i < config.objective().term_size(); ++i) {
    const Term& term = config.objective().term(i);
    if (term.has_begin_step() || term.has_end_step()) {
      checks.add(
          fmt::format("objective.term[{}] counts in some steps alone, and train.clean_pairs divides by it in all: "
                      "leave begin_step and end_step out",
                      i));
    }
    if (term.has_tal()) continue;
    checks.add(
        fmt::format("objective.term[{}] is no tal, by whose losses train.clean_pairs divides: leave it out, or set "
                    "train.clean_pairs.iterations to 0",
                    i));
  }
}

// What a second pair of features goes with.
void check_pairs(const RunConfig& config, Checks& checks) {
  const ModelConfig& model = config.model();
  bool selected = false;
  for (int i = 0; i < config.objective().term_size(); ++i) {
    const std::string& pair = config.objective().term(i).pair();
    selected |= pair == "selected";
    const std::string teacher = teacher_of(config.objective().term(i));
    if (!teacher.empty() && pair_width(model, teacher) == 0) {
      checks.add(
          fmt::format("objective.term[{}] is taught by \"{}\", a pair that the model does not give", i, teacher));
    }
    if (pair.empty() || pair_width(model, pair) > 0) continue;
    checks.add(fmt::format("objective.term[{}].pair is \"{}\": the model gives \"global\"{}", i, pair,
                           has_sets(model)         ? fmt::format(" and \"{}\"", kSetPair)
                           : selects_tokens(model) ? " and \"selected\""
                                                   : "; with model.token_selection also \"selected\""));
  }
  if (!selects_tokens(model)) return;
  if (!selected) {
    checks.add("model.token_selection is trained by no term: give one with pair: \"selected\", or set its width to 0");
  }
  const int64_t chunk = config.train().chunk();
  if (chunk != 0 && (chunk < 0 || chunk < config.train().global_batch())) {
    checks.add(
        "train.chunk cuts a batch that model.token_selection normalises as a whole (batch norm): set train.chunk to 0");
  }
  if (keeps_references(config.references()) || heads_need_references(config.heads())) {
    checks.add("references do not go with model.token_selection: leave them out, or set its width to 0");
  }
  if (config.heads().image_restoration().weight() > 0) {
    checks.add(
        "heads.image_restoration does not go with model.token_selection: set its weight or the selection's width to 0");
  }
}

// What a model of regions goes with.
void check_regions(const RunConfig& config, Checks& checks) {
  const std::string& ranking = config.train().evaluation().pair();
  if (!has_sets(config.model())) {
    const AlignmentConfig& alignment = config.objective().alignment();
    if (alignment.mode() != AlignmentConfig::MRSW || alignment.floor_at_zero() ||
        alignment.gathered_mib() != AlignmentConfig().gathered_mib()) {
      checks.add("objective.alignment is of models with model.regions: leave it out");
    }
    if (ranking != "global") {
      checks.add(
          fmt::format("train.evaluation.pair is \"{}\": without model.regions there is only \"global\"", ranking));
    }
    return;
  }
  checks.require(ranking == "global" || ranking == kSetPair, "train.evaluation.pair", "\"" + ranking + "\"",
                 fmt::format("\"global\" or \"{}\"", kSetPair));
  if (ranking == "global" && !trains_pair(config.objective(), ranking)) {
    checks.add(
        fmt::format("train.evaluation.pair is \"global\", which no term trains: set it to \"{}\", or give a term "
                    "with pair: \"global\"",
                    kSetPair));
  }
  RunConfig plain;
  *plain.mutable_model() = config.model();
  if (!MessageDifferencer::Equivalent(config.data().image(), resolve_run_config(plain).data().image())) {
    checks.add("data.image is of pictures, and model.regions takes none: leave it out");
  }
  const InitConfig& init = config.train().init();
  if (!init.weights().empty() && (!init.ignore().empty() || init.resize_positions() != InitConfig::REFUSE)) {
    checks.add("train.init.ignore and resize_positions are of CLIP's files: leave them out beside model.regions");
  }
  if (config.train().device() == TrainConfig::CUDA) {
    checks.add("train.device is CUDA, and models with model.regions are computed on the CPU: leave it out");
  }
  if (keeps_references(config.references())) {
    checks.add("references do not go with model.regions: leave them out");
  }
  const HeadsConfig& heads = config.heads();
  for (const auto& [weight, name] : {std::pair{heads.masked_words().weight(), "masked_words"},
                                     std::pair{heads.image_restoration().weight(), "image_restoration"}}) {
    if (weight > 0) checks.add(fmt::format("heads.{} does not go with model.regions: set its weight to 0", name));
  }
}

void check_init(const InitConfig& init, Checks& checks) {
  const bool of_run = init.ema() || init.checkpoint() != "newest";
  const bool more = of_run || init.resize_positions() != InitConfig::REFUSE || !init.ignore().empty();
  const bool given = init.has_run() || init.has_weights();
  if (init.run().empty() && init.weights().empty() && (given || more)) {
    checks.add(
        "train.init.run and train.init.weights are not given: give the folder of a run or a published file to start "
        "from, or leave train.init out");
  } else if (!init.run().empty() && !init.weights().empty()) {
    checks.add("train.init.run and train.init.weights are both given: keep one of the two");
  } else if (!init.weights().empty() && of_run) {
    checks.add("train.init.checkpoint and train.init.ema are for train.init.run: leave them out");
  } else if (!init.run().empty() && !init.ignore().empty()) {
    checks.add("train.init.ignore is for train.init.weights: leave it out");
  }
}

void check_train(const TrainConfig& train, Checks& checks) {
  checks.at_least<int64_t>(2, "train.global_batch", train.global_batch(), "a contrastive loss needs another pair");
  checks.require(train.chunk() >= 0 || train.chunk() == kAutoChunk, "train.chunk", train.chunk(),
                 "0 (all rows at once) or more, or AUTO");
  check_length(train, checks);
  check_optimizer(train.optimizer(), checks);
  check_schedule(train, checks);
  check_ema(train.ema(), checks);
  check_init(train.init(), checks);
  checks.at_least(0.0, "train.clip_norm", train.clip_norm(), "0: never clip");
  checks.require(train.threads() >= 0 && train.threads() <= 1024, "train.threads", train.threads(),
                 "0 (cores / ranks) to 1024");
  checks.at_least<int64_t>(1, "train.log_every", train.log_every());
  checks.at_least<int64_t>(0, "train.evaluation.every", train.evaluation().every(), "0: only at the end");
  checks.at_least<int64_t>(1, "train.evaluation.batch", train.evaluation().batch());
  checks.at_least<int64_t>(0, "train.checkpoint.every", train.checkpoint().every(), "0: only at the end");
  checks.at_least(1, "train.checkpoint.keep_last", train.checkpoint().keep_last());
  checks.at_least<int64_t>(0, "train.non_finite.skip", train.non_finite().skip(), "0: the first one ends the run");
  checks.at_least<int64_t>(0, "train.compare_ranks_every", train.compare_ranks_every(), "0: before checkpoints only");
}

void check_comm(const CommConfig& comm, Checks& checks) {
  checks.at_least<int64_t>(1, "comm.bucket_bytes", comm.bucket_bytes());
  checks.positive("comm.first_timeout_s", comm.first_timeout_s());
  checks.positive("comm.timeout_s", comm.timeout_s());
}

}  // namespace

std::vector<std::string> find_problems(const RunConfig& config) {
  Checks checks;
  check_data(config, checks);
  checks.add(find_problems(config.objective()));
  check_train(config.train(), checks);
  check_clean_pairs(config, checks);
  check_pairs(config, checks);
  check_regions(config, checks);
  check_comm(config.comm(), checks);
  check_references(config.references(), checks);
  check_refinement(config.refinement(), checks);
  check_masked_words(config.heads().masked_words(), config.model(), config.data().text(), checks);
  check_identity_classifier(config.heads().identity_classifier(), checks);
  check_image_restoration(config.heads().image_restoration(), config.model(), checks);
  return checks.take();
}

}  // namespace muster
