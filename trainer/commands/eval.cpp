#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <ATen/ops/empty.h>

#include <memory>
#include <string>

#include "comm/make_communicator.h"
#include "dataloader/formats/safetensors.h"
#include "dataloader/sample_list.h"
#include "dataloader/store.h"
#include "launch/error.h"
#include "launch/log.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/run_setup.h"
#include "trainer/evaluation.h"
#include "trainer/run_folder.h"
#include "trainer/run_report.h"

namespace muster {
namespace {

struct EvalArguments {
  std::string run_dir, store, embeddings;
  std::string split = "test";
  std::string checkpoint = "newest";
  std::string weights = "auto";
  std::string report;
};

void evaluate_run(const EvalArguments& arguments, Process& process) {
  start_computing(process, 0);
  const Store store(arguments.store);
  const Split split = split_from_name(arguments.split);
  const std::unique_ptr<Communicator> communicator = make_communicator(process, CommConfig());
  const TrainedRun run =
      load_trained_run(arguments.run_dir, arguments.checkpoint, weights_from_name(arguments.weights), *communicator);
  if (split == Split::kVal && trains_on_val(run.settings.data)) {
    log_warning(fmt::format("{} was trained on val (data.train_splits)", arguments.run_dir));
  }
  const SplitEmbeddings embeddings = embed_split(*run.model, store, split, run.settings, *communicator);
  const EvaluationRecord record = evaluate_embeddings(embeddings, split, run.step, *communicator);
  const std::string report = arguments.report.empty() ? report_path(arguments.run_dir) : arguments.report;
  write_run_report(report, arguments.run_dir, run.config, store, embeddings, record, *communicator);
  if (process.rank() != 0) return;
  fmt::print("{} of {}, step {}: {} images, {} captions\n{}report: {}\n", arguments.split, arguments.store, run.step,
             embeddings.images.size(), embeddings.captions.size(),
             format_retrieval_table(record.text_to_image, record.image_to_text), report);
}

// This rank's rows of a whole matrix and its identities.
EmbeddingRows take_rows(const NamedTensors& tensors, const std::string& features, const std::string& identity,
                        const std::string& path, const Communicator& communicator) {
  const at::Tensor& rows = find_tensor(tensors, features, path);
  const at::Tensor& ids = find_tensor(tensors, identity, path);
  if (rows.dim() != 2 || ids.dim() != 1 || ids.size(0) != rows.size(0) || ids.scalar_type() != at::kLong) {
    throw DataError(
        fmt::format("{}: '{}' must be [n, width] floating point and '{}' [n] int64", path, features, identity));
  }
  const Slice own = slice_of(rows.size(0), {communicator.rank(), communicator.size()});
  return {rows.narrow(0, own.first, own.count).to(at::kFloat).contiguous(),
          ids.narrow(0, own.first, own.count).contiguous()};
}

void evaluate_file(const EvalArguments& arguments, Process& process) {
  start_computing(process, 0);
  const NamedTensors tensors = read_safetensors(arguments.embeddings);
  const std::unique_ptr<Communicator> communicator = make_communicator(process, CommConfig());
  const EmbeddingRows images = take_rows(tensors, "image", "image_identity", arguments.embeddings, *communicator);
  const EmbeddingRows texts = take_rows(tensors, "text", "text_identity", arguments.embeddings, *communicator);
  const RetrievalMetrics text_to_image = evaluate_retrieval(texts, images, *communicator);
  const RetrievalMetrics image_to_text = evaluate_retrieval(images, texts, *communicator);
  if (text_to_image.queries == 0 || image_to_text.queries == 0) {
    throw DataError(fmt::format("{}: no query has a positive in the gallery; check image_identity and text_identity",
                                arguments.embeddings));
  }
  if (process.rank() == 0)
    fmt::print("{}\n{}", arguments.embeddings, format_retrieval_table(text_to_image, image_to_text));
}

}  // namespace

void add_eval_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("eval", "Print the retrieval table of a run, or of embeddings made by anyone");
  const auto arguments = std::make_shared<EvalArguments>();
  auto* run = command->add_option("--run", arguments->run_dir, "Run folder of muster train");
  auto* store = command->add_option("--data", arguments->store, "Store to evaluate on");
  command->add_option("--split", arguments->split, "train, val or test")->capture_default_str();
  command->add_option("--checkpoint", arguments->checkpoint, "newest, best (on val), or a step")->capture_default_str();
  command->add_option("--weights", arguments->weights, "raw, ema (their average), or auto: ema if the run keeps one")
      ->capture_default_str();
  command->add_option("--report", arguments->report, "Where report.html goes; default: into the run folder");
  command
      ->add_option("--embeddings", arguments->embeddings,
                   "safetensors with image, text [n, width] and image_identity, text_identity [n] int64")
      ->excludes(run)
      ->excludes(store);
  command->callback([arguments, &process] {
    if (!arguments->embeddings.empty()) return evaluate_file(*arguments, process);
    if (arguments->run_dir.empty() || arguments->store.empty()) {
      throw ConfigError("muster eval needs --run and --data, or --embeddings; see muster eval --help");
    }
    evaluate_run(*arguments, process);
  });
}

}  // namespace muster
