// muster eval --refine: the same rows once more, by the references that the run has learned, and the control beside it.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "dataloader/store.h"
#include "trainer/commands/run_setup.h"
#include "trainer/evaluation.h"

namespace muster {

struct RefineRequest {
  bool wanted = false;
  std::string val_store;               // where beta and phi are chosen; empty: the store evaluated
  std::vector<std::string> overrides;  // PATH=VALUE of refinement's fields
};

// The run's refinement config. ConfigError: overrides of other fields, or impossible ones.
RefinementConfig refinement_config(const RefineRequest& request, const std::string& run_dir);

struct RefinedEvaluation {
  EvaluationRecord refined;
  EvaluationRecord control;
};

// Collective. `plain` is the same split's record without references. ConfigError: the checkpoint holds no references;
// val has to choose, and there is none.
RefinedEvaluation evaluate_refined(const RefineRequest& request, const RefinementConfig& config,
                                   const std::string& run_dir, const TrainedRun& run, const Store& store,
                                   const SplitEmbeddings& embeddings, const EvaluationRecord& plain,
                                   Communicator& communicator);

}  // namespace muster
