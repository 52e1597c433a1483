#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <string>

#include "comm/make_communicator.h"
#include "dataloader/formats/safetensors.h"
#include "dataloader/store.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/output_file.h"
#include "trainer/commands/run_setup.h"
#include "trainer/evaluation.h"
#include "trainer/global_vectors.h"
#include "trainer/split_names.h"

namespace muster {
namespace {

struct EmbedArguments {
  std::string run_dir, store, out;
  std::string split = "test";
  std::string checkpoint = "newest";
  std::string weights = "auto";
};

at::Tensor gather_rows(const at::Tensor& own, int64_t total, Communicator& communicator, const std::string& name) {
  std::vector<int64_t> shape = own.sizes().vec();
  shape[0] = total;
  at::Tensor all = at::empty(shape, own.options());
  communicator.all_gather(all, own, split_rows(total, communicator.size()), name).wait();
  return all;
}

void embed(const EmbedArguments& arguments, Process& process) {
  const std::string rows_file = rows_path(arguments.out);
  for (const std::string& path : {arguments.out, rows_file}) {
    check_output_file("--out", path, {arguments.run_dir, arguments.store});
  }
  start_computing(process, 0);
  const Store store(arguments.store);
  const Split split = split_from_name(arguments.split);
  const std::unique_ptr<Communicator> communicator = make_communicator(process, CommConfig());
  const TrainedRun run = load_trained_run(arguments.run_dir, arguments.checkpoint, weights_from_name(arguments.weights),
                                          process, *communicator);
  check_global(run.settings, arguments.run_dir, "muster embed writes");
  const SplitEmbeddings rows = embed_split(*run.model, store, split, run.settings, *communicator);
  const auto images = static_cast<int64_t>(rows.images.size()), captions = static_cast<int64_t>(rows.captions.size());
  const NamedTensors tensors = {
      {"image", gather_rows(rows.image_rows.features, images, *communicator, "image embeddings")},
      {"text", gather_rows(rows.text_rows.features, captions, *communicator, "text embeddings")},
      {"image_identity", gather_rows(rows.image_rows.identity, images, *communicator, "image identities")},
      {"text_identity", gather_rows(rows.text_rows.identity, captions, *communicator, "text identities")}};
  if (process.rank() != 0) return;
  write_rows(rows_file, store, rows);
  write_safetensors(arguments.out, tensors, {{"split", arguments.split}, {"step", std::to_string(run.step)}});
  fmt::print("{}: {} images and {} captions of {}, step {}, raw (not normalised)\n{}: what each row is\n",
             arguments.out, images, captions, arguments.split, run.step, rows_file);
  const std::string note = global_note(run.settings);
  if (!note.empty()) fmt::print("they rank {}\n", note);
}

}  // namespace

void add_embed_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("embed", "Write a split's embeddings as safetensors");
  const auto arguments = std::make_shared<EmbedArguments>();
  command->add_option("--run", arguments->run_dir, "Run folder of muster train, or one checkpoint's folder")
      ->required();
  command->add_option("--data", arguments->store, "Store to embed")->required();
  command
      ->add_option("--out", arguments->out,
                   "File to write: image, text, image_identity, text_identity; beside it NAME.rows.jsonl: path, "
                   "identity, caption of each row")
      ->required();
  command->add_option("--split", arguments->split, "train, val or test")->capture_default_str();
  command->add_option("--checkpoint", arguments->checkpoint, "newest, best (on val), or a step")->capture_default_str();
  command->add_option("--weights", arguments->weights, "raw, ema (their average), or auto: ema if the run keeps one")
      ->capture_default_str();
  command->callback([arguments, &process] { embed(*arguments, process); });
}

}  // namespace muster
