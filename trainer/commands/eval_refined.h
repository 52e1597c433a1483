// --refine: how the commands find a run's references and what val chooses; and muster eval --refine: the same rows once
// more by the references that the run has learned, and the control beside it.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "dataloader/store.h"
#include "trainer/commands/run_setup.h"
#include "trainer/evaluation.h"
#include "trainer/references/refinement.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace muster {

struct RefineRequest {
  bool wanted = false;
  std::string val_store;               // where beta and phi are chosen; empty: the store evaluated
  std::vector<std::string> overrides;  // PATH=VALUE of refinement's fields
};

// Adds --refine, --refine-on and --set; returns --refine. `refined`: what --refine does.
CLI::Option* add_refine_options(CLI::App& command, RefineRequest& request, const std::string& refined);

// The run's refinement config. ConfigError: overrides of other fields, or impossible ones.
RefinementConfig refinement_config(const RefineRequest& request, const std::string& run_dir);

// The references of a run's checkpoint, and the choice that the config leaves or val makes.
struct RunRefinement {
  ReferenceBasis basis;
  RefinementChoice choice;
  std::string description;  // "240 references, phi CENTRE, beta 0.5, z-scores, chosen on val of store"
};

// Collective. `shown_is_val`: figures or hits are those of val too, which the description then says. ConfigError: the
// checkpoint holds no references; val has to choose, and there is none.
RunRefinement choose_run_refinement(const RefineRequest& request, const RefinementConfig& config,
                                    const std::string& run_dir, const TrainedRun& run, const Store& store,
                                    PositiveRule positives, bool shown_is_val, Communicator& communicator);

struct RefinedEvaluation {
  EvaluationRecord refined;
  EvaluationRecord control;
};

// Collective. `plain` is the same split's record without references. ConfigError as choose_run_refinement().
RefinedEvaluation evaluate_refined(const RefineRequest& request, const RefinementConfig& config,
                                   const std::string& run_dir, const TrainedRun& run, const Store& store,
                                   const SplitEmbeddings& embeddings, const EvaluationRecord& plain,
                                   Communicator& communicator);

}  // namespace muster
