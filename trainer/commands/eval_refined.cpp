#include "trainer/commands/eval_refined.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <filesystem>
#include <memory>

#include "launch/error.h"
#include "trainer/checkpoint_layout.h"
#include "trainer/commands/run_config.h"
#include "trainer/references/refinement.h"
#include "trainer/replica.h"

namespace muster {
namespace {

// Rank 0 reads.
ReferenceBasis load_basis(const std::string& run_dir, const TrainedRun& run, int64_t width,
                          Communicator& communicator) {
  const std::string folder =
      is_checkpoint_folder(run_dir) ? run_dir : fmt::format("{}/checkpoints/{}", run_dir, checkpoint_name(run.step));
  const std::string path = folder + "/" + kReferencesFile;
  ReferenceBasis basis;
  std::string rows = "none";
  if (communicator.rank() == 0) {
    std::error_code error;
    if (std::filesystem::exists(path, error)) {
      basis = read_reference_basis(path);
      if (basis.rows.size(1) != width) {
        throw DataError(fmt::format("{}: references of width {}, and the model's embeddings are of width {}", path,
                                    basis.rows.size(1), width));
      }
      rows = std::to_string(basis.rows.size(0));
    }
  }
  rows = broadcast_string(rows, communicator, "references");
  if (rows == "none") {
    throw ConfigError(fmt::format(
        "{} holds no references to refine with: train with references.fusion_weight above 0, or leave out --refine",
        folder));
  }
  if (communicator.rank() != 0) {
    basis = {at::empty({std::stoll(rows), width}, at::kFloat), at::empty({width}, at::kFloat),
             at::empty({width}, at::kFloat)};
  }
  broadcast_tensors({{"rows", basis.rows}, {"mean.image", basis.mean_image}, {"mean.text", basis.mean_text}},
                    communicator, "references");
  return basis;
}

struct Chosen {
  RefinementChoice choice;
  std::string where;
};

// On val, whatever split is evaluated.
Chosen choose(const RefineRequest& request, const RefinementConfig& config, const ReferenceBasis& basis,
              const TrainedRun& run, const Store& store, PositiveRule positives, bool shown_is_val,
              Communicator& communicator) {
  Chosen chosen;
  if (only_choice(config, chosen.choice)) return {chosen.choice, "as the config says"};
  std::unique_ptr<Store> other;
  if (!request.val_store.empty()) other = std::make_unique<Store>(request.val_store);
  const Store& val = other ? *other : store;
  if (val.images_of(Split::kVal).empty()) {
    throw ConfigError(fmt::format(
        "{} has no val split to choose refinement's phi, beta and top_k on: give --refine-on STORE that has one, or "
        "one of each by --set",
        val.path()));
  }
  const SplitEmbeddings rows = embed_split(*run.model, val, Split::kVal, run.settings, communicator, positives);
  return {choose_refinement(basis, config, rows.text_rows, rows.image_rows, communicator),
          fmt::format("chosen on val of {}{}", val.path(), shown_is_val && !other ? " (the split shown)" : "")};
}

}  // namespace

CLI::Option* add_refine_options(CLI::App& command, RefineRequest& request, const std::string& refined) {
  CLI::Option* refine = command.add_flag("--refine", request.wanted, refined);
  command
      .add_option("--refine-on", request.val_store,
                  "Store whose val chooses what refinement leaves open; default: that of --data")
      ->needs(refine);
  command
      .add_option("--set", request.overrides,
                  "Override a field of the refinement: --set refinement.beta=[0.5]; see muster config refinement")
      ->needs(refine)
      ->allow_extra_args(false)  // what follows may be a query
      ->take_all();
  return refine;
}

RefinementConfig refinement_config(const RefineRequest& request, const std::string& run_dir) {
  for (const std::string& one : request.overrides) {
    if (one.rfind("refinement.", 0) != 0) {
      throw ConfigError(fmt::format("--set {}: only fields of refinement can be set here", one));
    }
  }
  return load_config_of(run_dir, request.overrides).refinement();
}

RunRefinement choose_run_refinement(const RefineRequest& request, const RefinementConfig& config,
                                    const std::string& run_dir, const TrainedRun& run, const Store& store,
                                    PositiveRule positives, bool shown_is_val, Communicator& communicator) {
  const ReferenceBasis basis = load_basis(run_dir, run, run.settings.model.joint_width(), communicator);
  const Chosen chosen = choose(request, config, basis, run, store, positives, shown_is_val, communicator);
  return {basis, chosen.choice,
          fmt::format("{} references, {}, {}", basis.rows.size(0), describe_refinement(config, chosen.choice),
                      chosen.where)};
}

RefinedEvaluation evaluate_refined(const RefineRequest& request, const RefinementConfig& config,
                                   const std::string& run_dir, const TrainedRun& run, const Store& store,
                                   const SplitEmbeddings& embeddings, const EvaluationRecord& plain,
                                   Communicator& communicator) {
  const EmbeddingRows& texts = embeddings.text_rows;
  const EmbeddingRows& images = embeddings.image_rows;
  const RunRefinement chosen = choose_run_refinement(request, config, run_dir, run, store, embeddings.positives,
                                                     plain.split == split_name(Split::kVal), communicator);
  const auto record = [&](const BothDirections& figures, const std::string& refinement) {
    EvaluationRecord made = plain;
    made.text_to_image = figures.text_to_image;
    made.image_to_text = figures.image_to_text;
    made.refinement = refinement;
    return made;
  };
  const Refinement refinement(chosen.basis, config, chosen.choice.phi, texts, images, communicator);
  return {
      record(refinement.evaluate(chosen.choice.beta, chosen.choice.top_k, communicator), chosen.description),
      record(evaluate_centred(chosen.basis, texts, images, communicator), "control: centred features, no references")};
}

}  // namespace muster
