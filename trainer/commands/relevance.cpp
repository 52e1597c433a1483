#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/split_captions.h"
#include "dataloader/store.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/output_file.h"
#include "trainer/commands/run_setup.h"
#include "trainer/retrieval/rouge_l.h"
#include "trainer/split_names.h"

namespace muster {
namespace {

// Rows made at a time.
constexpr int64_t kRows = 256;

struct RelevanceArguments {
  std::string store, out;
  std::string split = "test";
  int threads = 0;
};

void write_relevances(const RelevanceArguments& arguments, const Process& process) {
  if (process.world_size() > 1)
    throw ConfigError("muster relevance is one process with threads; run it without mpirun");
  check_output_file("--out", arguments.out, {arguments.store});
  start_computing(process, arguments.threads);
  const Store store(arguments.store);
  const Split split = split_from_name(arguments.split);
  std::vector<std::vector<std::string>> captions;
  for (const int64_t image : store.images_of(split)) {
    captions.emplace_back();
    for (int64_t i = 0; i < store.caption_count(image); ++i) {
      captions.back().push_back(store.caption(store.first_caption(image) + i));
    }
  }
  const RougeL rouge(captions);
  if (rouge.captions() == 0) {
    throw DataError(
        fmt::format("{}: split {} has no captions; {}", store.path(), arguments.split, splits_with_captions(store)));
  }
  const int64_t images = rouge.images();
  write_file_atomically(arguments.out, [&](const ByteSink& sink) {
    std::vector<float> rows(static_cast<size_t>(std::min(kRows, rouge.captions()) * images));
    for (int64_t first = 0; first < rouge.captions(); first += kRows) {
      const int64_t count = std::min(kRows, rouge.captions() - first);
      at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
        RougeL::Scratch scratch;
        for (int64_t i = begin; i < end; ++i) rouge.compare(first + i, scratch, rows.data() + i * images);
      });
      sink(rows.data(), static_cast<size_t>(count * images) * sizeof(float));
    }
  });
  fmt::print(
      "{}: ROUGE-L of {} captions with the captions of {} images, raw float32; muster eval --relevance rougeL={}\n",
      arguments.out, rouge.captions(), images, arguments.out);
}

}  // namespace

void add_relevance_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand(
      "relevance", "Write how relevant each image of a split is to each caption, by ROUGE-L, for eval --relevance");
  const auto arguments = std::make_shared<RelevanceArguments>();
  command->add_option("--data", arguments->store, "Store")->required();
  command->add_option("--split", arguments->split, "train, val or test")->capture_default_str();
  command->add_option("--out", arguments->out, "File to make: raw float32, a row of all images for each caption")
      ->required();
  command->add_option("--threads", arguments->threads, "Threads; 0: all cores")->check(CLI::Range(0, 1024));
  command->callback([arguments, &process] { write_relevances(*arguments, process); });
}

}  // namespace muster
