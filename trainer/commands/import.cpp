// muster import: a data set as published -> a store.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/importers/jsonl.h"
#include "dataloader/store.h"
#include "launch/error.h"
#include "launch/log.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/count_format.h"
#include "trainer/commands/progress_line.h"

namespace muster {
namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
  std::string list, out, refused_path;
  int64_t shard_mib = 1024;
  ImportOptions options;
};

void print_report(const ImportReport& report, double seconds, const std::string& out) {
  fmt::print("{:<8}{:>12}{:>12}{:>12}\n", "split", "images", "captions", "identities");
  int64_t images = 0;
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    const ImportReport::Counts& counts = report.splits[static_cast<size_t>(split)];
    images += counts.images;
    fmt::print("{:<8}{:>12}{:>12}{:>12}\n", split_name(split), with_commas(counts.images), with_commas(counts.captions),
               with_commas(counts.identities));
  }
  fmt::print("{}: {} images, each decoded once, in {:.1f} s\n", out, with_commas(images), seconds);
  std::fflush(stdout);
}

void print_refused(const ImportReport& report, const std::string& path) {
  constexpr size_t kShown = 10;
  if (report.refused.empty()) return;
  std::string text;
  for (const std::string& line : report.refused) text += line + "\n";
  write_file_atomically(path, text);
  for (size_t i = 0; i < std::min(kShown, report.refused.size()); ++i) log_warning("refused: " + report.refused[i]);
  log_warning(fmt::format("{} rows were refused; all of them are listed in {}",
                          with_commas(static_cast<int64_t>(report.refused.size())), path));
}

void run_import(const Arguments& arguments) {
  const auto begun = Clock::now();
  ImportReport report;
  {
    StoreWriter store(arguments.out, StoreWriter::Options{arguments.shard_mib << 20});
    ProgressLine progress;
    ImportOptions options = arguments.options;
    options.progress = [&](int64_t rows) { progress.show(rows); };
    report = import_jsonl(arguments.list, options, store, [&](double fraction) { progress.set_fraction(fraction); });
    store.finish();
  }
  print_report(report, std::chrono::duration<double>(Clock::now() - begun).count(), arguments.out);
  for (const std::string& warning : report.warnings) log_warning(warning);
  std::string beside = arguments.out;
  while (beside.size() > 1 && beside.back() == '/') beside.pop_back();
  print_refused(report, beside + ".refused.txt");
}

}  // namespace

void add_import_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("import", "Make a store from a data set's own files");
  command->require_subcommand(1);
  CLI::App* jsonl = command->add_subcommand("jsonl", "A list with one image a line: image, identity, captions, split");
  const auto arguments = std::make_shared<Arguments>();
  arguments->options.threads = 2;
  jsonl->add_option("LIST", arguments->list, "The list; its fields are described in dataloader/README.md")->required();
  jsonl->add_option("--out", arguments->out, "Folder to make; it appears when it is complete")->required();
  jsonl->add_option("--root", arguments->options.root, "Folder that the images' paths start from [the list's folder]");
  jsonl->add_option("--threads", arguments->options.threads, "Threads that read and decode images [2]")
      ->check(CLI::Range(1, 1024));
  jsonl->add_option("--shard-mib", arguments->shard_mib, "Size of a shard in MiB [1024]")
      ->check(CLI::Range(1, 1 << 24));
  jsonl->add_flag("--skip-bad,--continue-on-error", arguments->options.skip_bad,
                  "Refuse bad rows and go on; they are listed in STORE.refused.txt");
  arguments->options.root.clear();
  jsonl->callback([arguments, &process] {
    if (process.world_size() > 1)
      throw ConfigError("muster import runs as one process; start it without mpirun and give --threads");
    run_import(*arguments);
  });
}

}  // namespace muster
