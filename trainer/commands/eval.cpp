#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "comm/make_communicator.h"
#include "dataloader/sample_list.h"
#include "dataloader/store.h"
#include "launch/error.h"
#include "launch/log.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/eval_embeddings.h"
#include "trainer/commands/eval_refined.h"
#include "trainer/commands/output_file.h"
#include "trainer/commands/run_setup.h"
#include "trainer/evaluation.h"
#include "trainer/explanation.h"
#include "trainer/global_vectors.h"
#include "trainer/report/metrics_file.h"
#include "trainer/restored_samples.h"
#include "trainer/retrieval/ndcg.h"
#include "trainer/run_folder.h"
#include "trainer/run_report.h"
#include "trainer/split_names.h"

namespace muster {
namespace {

struct EvalArguments {
  std::string run_dir, store, embeddings, report;
  std::string split = "test";
  std::string checkpoint = "newest";
  std::string weights = "auto";
  std::string positives = "identity";
  bool best_on_test = false;
  int64_t folds = 1;
  std::vector<std::string> relevances;  // NAME=FILE
  RanksRequest ranks;
  RefineRequest refine;
};

PositiveRule rule_of(const EvalArguments& arguments) {
  if (arguments.positives == "class") return PositiveRule::kClass;
  return arguments.positives == "image" ? PositiveRule::kImage : PositiveRule::kIdentity;
}

std::string format_table(const EvaluationRecord& record) {
  if (record.positives == "class") return format_class_table(record.text_to_image, record.image_to_text);
  std::string table = format_retrieval_table(record.text_to_image, record.image_to_text);
  if (record.positives == "image" || record.folds > 1 || !record.ndcg.empty()) {
    table += format_caption_figures(record.text_to_image, record.image_to_text);
  }
  for (const NamedNdcg& one : record.ndcg) {
    table += fmt::format("NDCG@{} by {}: text to image {:.4f}, image to text {:.4f}\n", kNdcgItems, one.name,
                         one.text_to_image, one.image_to_text);
  }
  return table;
}

// The files, opened; sizes are those of the split.
EvaluationProtocol open_protocol(const EvalArguments& arguments, const Store& store, Split split) {
  EvaluationProtocol protocol{arguments.folds, {}};
  const std::vector<int64_t> images = store.images_of(split);
  check_folds(arguments.folds, static_cast<int64_t>(images.size()), split);
  int64_t captions = 0;
  for (const int64_t image : images) captions += store.caption_count(image);
  for (const std::string& given : arguments.relevances) {
    const size_t equals = given.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == given.size()) {
      throw ConfigError(fmt::format("--relevance {}: give NAME=FILE, such as rougeL=relevances.f32", given));
    }
    const std::string name = given.substr(0, equals);
    for (const NamedRelevances& other : protocol.relevances) {
      if (other.name == name)
        throw ConfigError(fmt::format("--relevance: {} stands there twice; name one otherwise", name));
    }
    protocol.relevances.push_back({name, std::make_shared<RelevanceFile>(given.substr(equals + 1), captions,
                                                                         static_cast<int64_t>(images.size()))});
  }
  return protocol;
}

// What is compared, in words: identities are the store's own, whatever the run was trained on.
std::string describe_comparison(const EvalArguments& arguments, const TrainedRun& run, const Store& store,
                                const SplitEmbeddings& embeddings) {
  const std::string rule = embeddings.positives == PositiveRule::kImage   ? "the same image"
                           : embeddings.positives == PositiveRule::kClass ? "the same class, whose text is the mean of "
                                                                            "its captions"
                                                                          : "the same identity";
  std::string text = fmt::format("{} of {}, step {}: {} images, {} captions; right is {}\n", arguments.split,
                                 store.path(), run.step, embeddings.images.size(), embeddings.captions.size(), rule);
  if (arguments.folds > 1) {
    text += fmt::format("means of {} folds of {} images and their captions\n", arguments.folds,
                        embeddings.images.size() / static_cast<size_t>(arguments.folds));
  }
  if (run.store_fingerprint != store.fingerprint()) {
    text +=
        fmt::format("{} was trained on another store; identities are those of {}\n", arguments.run_dir, store.path());
  }
  return text;
}

// RUN/evaluations.jsonl, for muster table. A checkpoint that lies alone has no run to record in; other weights than the
// run's own choice are looked at, not recorded.
void record(const EvalArguments& arguments, const Store& store, EvaluationRecord record) {
  if (is_checkpoint_folder(arguments.run_dir) || arguments.weights != "auto") return;
  record.data = store.fingerprint();
  record_evaluation(evaluations_path(arguments.run_dir), record);
}

void rank_rows(const RanksRequest& request, const Store& store, const SplitEmbeddings& embeddings,
               Communicator& communicator) {
  if (request.path.empty()) return;
  write_all_ranks(request, embeddings.image_rows, named_images(store, embeddings), embeddings.text_rows,
                  named_texts(store, embeddings), communicator);
}

void evaluate_run(const EvalArguments& arguments, Process& process) {
  const bool of_classes = rule_of(arguments) == PositiveRule::kClass;
  if (of_classes && !(arguments.report.empty() && arguments.ranks.path.empty())) {
    throw ConfigError("--positives class ranks classes; --report and --ranks show captions: leave them out");
  }
  const bool own_place =
      arguments.report.empty() && !is_checkpoint_folder(arguments.run_dir) && !of_classes && arguments.folds == 1;
  const std::string report = own_place ? report_path(arguments.run_dir) : arguments.report;
  const std::vector<std::string> inputs = {arguments.run_dir, arguments.store};
  read_run_config(arguments.run_dir);  // says so if there is no run
  if (!report.empty()) check_output_file("--report", report, inputs);
  check_ranks_request(arguments.ranks, inputs);
  RefinementConfig refinement;
  if (arguments.refine.wanted) refinement = refinement_config(arguments.refine, arguments.run_dir);
  start_computing(process, 0);
  const Store store(arguments.store);
  const Split split = split_from_name(arguments.split);
  const std::unique_ptr<Communicator> communicator = make_communicator(process, CommConfig());
  const TrainedRun run = load_trained_run(arguments.run_dir, arguments.checkpoint, weights_from_name(arguments.weights),
                                          process, *communicator);
  if (!arguments.ranks.path.empty()) check_global(run.settings, arguments.run_dir, "--ranks ranks by");
  if (split == Split::kVal && trains_on_val(run.settings.data)) {
    log_warning(fmt::format("{} was trained on val (data.train_splits)", arguments.run_dir));
  }
  const EvaluationProtocol protocol = open_protocol(arguments, store, split);
  const SplitEmbeddings embeddings =
      embed_split(*run.model, store, split, run.settings, *communicator, rule_of(arguments));
  const EvaluationRecord result = evaluate_embeddings(embeddings, split, run.step, *communicator, protocol);
  std::vector<EvaluationRecord> records = {result};
  if (arguments.refine.wanted) {
    const RefinedEvaluation refined = evaluate_refined(arguments.refine, refinement, arguments.run_dir, run, store,
                                                       embeddings, result, *communicator);
    records.insert(records.end(), {refined.refined, refined.control});
  }
  if (!report.empty()) {
    ReportSamples samples;
    samples.ranks_queries = trains_global(run.settings);
    samples.ranking_note = global_note(run.settings);
    if (process.rank() == 0 && run.settings.heads.image_restoration().weight() > 0) {
      const auto head = load_restoration(arguments.run_dir, run, weights_from_name(arguments.weights));
      samples.restorations = restore_samples(*head, *run.model, store, embeddings, run.settings);
    }
    if (process.rank() == 0 && embeddings.sets) {
      samples.explained = explain_samples(*run.model, store, embeddings, run.settings);
    }
    write_run_report(report, arguments.run_dir, run.config, store, embeddings, result, std::move(samples),
                     *communicator);
  }
  rank_rows(arguments.ranks, store, embeddings, *communicator);
  if (process.rank() != 0) return;
  fmt::print("{}", describe_comparison(arguments, run, store, embeddings));
  for (const EvaluationRecord& one : records) {
    record(arguments, store, one);
    if (!one.refinement.empty()) fmt::print("{}\n", one.refinement);
    fmt::print("{}", format_table(one));
  }
  if (!report.empty()) fmt::print("report: {}\n", report);
  const std::string note = global_note(run.settings);
  if (!arguments.ranks.path.empty() && !note.empty()) fmt::print("{}: ranked {}\n", arguments.ranks.path, note);
}

// Published code often picks the checkpoint by its figures on test. Shown, so that one can compare; never saved.
void show_best_on_test(const EvalArguments& arguments, Process& process) {
  start_computing(process, 0);
  const Store store(arguments.store);
  const std::unique_ptr<Communicator> communicator = make_communicator(process, CommConfig());
  std::vector<EvaluationRecord> records;
  for (const int64_t step : kept_steps(arguments.run_dir, *communicator)) {
    const TrainedRun run = load_trained_run(arguments.run_dir, std::to_string(step),
                                            weights_from_name(arguments.weights), process, *communicator);
    const SplitEmbeddings embeddings =
        embed_split(*run.model, store, Split::kTest, run.settings, *communicator, rule_of(arguments));
    records.push_back(evaluate_embeddings(embeddings, Split::kTest, step, *communicator));
  }
  if (process.rank() != 0) return;
  size_t best = 0;
  for (size_t i = 1; i < records.size(); ++i) {
    if (records[i].text_to_image.r1 > records[best].text_to_image.r1) best = i;
  }
  fmt::print("R@1 of text to image on test, of each checkpoint that {} has kept\n", arguments.run_dir);
  for (const EvaluationRecord& one : records) fmt::print("  step {:>8}  {:>6.2f}\n", one.step, one.text_to_image.r1);
  fmt::print(
      "step {}, SELECTED ON TEST, as published code does: higher than a choice on val would give; nothing is saved\n{}",
      records[best].step, format_table(records[best]));
}

void evaluate(const EvalArguments& arguments, Process& process) {
  if (!arguments.embeddings.empty()) return evaluate_embeddings_file(arguments.embeddings, arguments.ranks, process);
  if (arguments.run_dir.empty() || arguments.store.empty()) {
    throw ConfigError("muster eval needs --run and --data, or --embeddings; see muster eval --help");
  }
  return arguments.best_on_test ? show_best_on_test(arguments, process) : evaluate_run(arguments, process);
}

}  // namespace

void add_eval_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("eval", "Print the retrieval table of a run, or of embeddings made by anyone");
  const auto arguments = std::make_shared<EvalArguments>();
  auto* run =
      command->add_option("--run", arguments->run_dir, "Run folder of muster train, or one checkpoint's folder");
  auto* store = command->add_option("--data", arguments->store, "Store to evaluate on");
  auto* split = command->add_option("--split", arguments->split, "train, val or test")->capture_default_str();
  auto* checkpoint = command->add_option("--checkpoint", arguments->checkpoint, "newest, best (on val), or a step")
                         ->capture_default_str();
  auto* positives = command
                        ->add_option("--positives", arguments->positives,
                                     "Right is the same identity; the same image (COCO: five captions each); or the "
                                     "same class, one text each, with AP@50 (CUB, Flowers)")
                        ->check(CLI::IsMember({"identity", "image", "class"}))
                        ->capture_default_str();
  command->add_option("--weights", arguments->weights, "raw, ema (their average), or auto: ema if the run keeps one")
      ->capture_default_str();
  auto* report =
      command->add_option("--report", arguments->report, "Where report.html goes; default: into the run folder");
  auto* ranks = command->add_option("--ranks", arguments->ranks.path,
                                    "Write each query's best hits, both directions: a name in .jsonl or .csv");
  command->add_option("--top", arguments->ranks.top, "Hits a query in --ranks")
      ->check(CLI::Range(1, 1 << 20))
      ->needs(ranks)
      ->capture_default_str();
  auto* refine = add_refine_options(*command, arguments->refine,
                                    "Also with the references that the run has learned, and a control without them");
  auto* folds = command
                    ->add_option("--folds", arguments->folds,
                                 "Means over so many parts of consecutive images, each a gallery of its own (COCO 1K: "
                                 "5); no report")
                    ->check(CLI::Range(1, 1 << 20))
                    ->excludes(report)
                    ->excludes(ranks)
                    ->excludes(refine)
                    ->capture_default_str();
  auto* relevance = command->add_option("--relevance", arguments->relevances,
                                        "NAME=FILE: also NDCG@25 by a file of muster relevance, or of published code "
                                        "(raw float32, captions x images); may be given again");
  relevance->allow_extra_args(false)->excludes(refine);
  auto* best_on_test = command
                           ->add_flag("--best-on-test", arguments->best_on_test,
                                      "Try every kept checkpoint on test and show the best there; saves nothing")
                           ->excludes(split)
                           ->excludes(checkpoint)
                           ->excludes(report)
                           ->excludes(ranks)
                           ->excludes(folds)
                           ->excludes(relevance)
                           ->excludes(refine);
  command
      ->add_option("--embeddings", arguments->embeddings,
                   "safetensors with image, text [n, width] and image_identity, text_identity [n] int64")
      ->excludes(run)
      ->excludes(store)
      ->excludes(report)
      ->excludes(best_on_test)
      ->excludes(refine)
      ->excludes(folds)
      ->excludes(relevance)
      ->excludes(positives);
  command->callback([arguments, &process] { evaluate(*arguments, process); });
}

}  // namespace muster
