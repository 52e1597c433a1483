// muster synth: draws the synthetic pedestrian set into a store.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "dataloader/synth/ceiling.h"
#include "dataloader/synth/jsonl_folder.h"
#include "dataloader/synth/synth.h"
#include "dataloader/synth/things_scene.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/count_format.h"
#include "trainer/commands/progress_line.h"
#include "trainer/commands/seed_option.h"

namespace muster {
namespace {

struct Arguments {
  synth::Options set;
  std::string out, jsonl;
  int threads = 0;
  bool ceiling = false;
  int64_t region_width = 0;
};

// Of people or scenes.
template <typename Set>
void print_report(const Set& set, int captions, double seconds, const std::string& out) {
  std::array<int64_t, 3> identities{};
  for (int64_t i = 0; i < set.options().identities; ++i) ++identities[static_cast<size_t>(set.split(i))];
  fmt::print("{:<8}{:>12}{:>12}{:>12}\n", "split", "images", "captions", "identities");
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    const int64_t count = identities[static_cast<size_t>(split)];
    const int64_t images = count * set.options().views;
    fmt::print("{:<8}{:>12}{:>12}{:>12}\n", split_name(split), with_commas(images), with_commas(images * captions),
               with_commas(count));
  }
  fmt::print("{}: {} images, drawn in {:.1f} s\n", out, with_commas(set.images()), seconds);
  std::fflush(stdout);
}

void print_ceiling(const synth::Set& set) {
  const synth::Ceiling ceiling = synth::measure_ceiling(set);
  fmt::print(
      "text-to-image R@1 on {} test images, {} captions: {:.1f} % for an attribute oracle (the ceiling), {:.1f} % for "
      "colour histograms, {:.1f} % by chance\n",
      with_commas(ceiling.gallery), with_commas(ceiling.queries), ceiling.oracle, ceiling.histogram, ceiling.chance);
}

template <typename Set>
void write_set(const Set& set, const StoreWriter::Options& options, int captions, const Arguments& arguments) {
  const auto begun = std::chrono::steady_clock::now();
  StoreWriter store(arguments.out, options);
  std::unique_ptr<synth::JsonlFolder> folder;
  if (!arguments.jsonl.empty()) folder = std::make_unique<synth::JsonlFolder>(arguments.jsonl);
  {
    ProgressLine progress;
    int64_t done = 0;
    set.for_each(arguments.threads, [&](const StoreRecord& record) {
      store.add(record);
      if (folder) folder->add(record);
      progress.set_fraction(static_cast<double>(++done) / static_cast<double>(set.images()));
      progress.show(done);
    });
  }
  store.finish();
  if (folder) folder->finish();
  print_report(set, captions, std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(),
               arguments.out);
}

void run_synth(const Arguments& arguments) {
  if (arguments.region_width == 0) {
    const synth::Set set(arguments.set);
    write_set(set, {}, synth::kCaptionsPerImage, arguments);
    if (arguments.ceiling) print_ceiling(set);
    return;
  }
  if (arguments.ceiling) throw ConfigError("--ceiling is for people, not for the scenes of --regions; leave one out");
  StoreWriter::Options options;
  options.region_width = arguments.region_width;
  options.region_extractor = "muster synth --regions";
  write_set(synth::SceneSet(arguments.set, arguments.region_width), options, synth::kCaptionsPerScene, arguments);
}

}  // namespace

void add_synth_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand(
      "synth", "Draw a synthetic set: pedestrians, or scenes of things with regions; captions, splits");
  const auto arguments = std::make_shared<Arguments>();
  synth::Options& set = arguments->set;
  arguments->threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  command->add_option("--identities", set.identities, "People to draw")->required();
  command->add_option("--views", set.views, "Pictures of each, from different sides and in different places")
      ->required();
  add_seed_option(*command, set.seed, "The same seed gives the same set [0]");
  command->add_option("--out", arguments->out, "Store to make; it appears when it is complete")->required();
  command->add_option("--width", set.width, "Of the pictures, in pixels [64]");
  command->add_option("--height", set.height, "Of the pictures, in pixels [128]");
  command->add_option("--val-fraction", set.val_fraction, "Share of the people for validation [0.1]");
  command->add_option("--test-fraction", set.test_fraction, "Share of the people for the test [0.2]");
  command
      ->add_option("--regions", arguments->region_width,
                   "Scenes of things in place of people, --views 1, with regions of so many numbers each")
      ->check(CLI::Range(1, 65536));
  command->add_option("--jsonl", arguments->jsonl, "Also write the pictures and manifest.jsonl into this folder");
  command->add_flag("--ceiling", arguments->ceiling,
                    "Also print the R@1 of an attribute oracle, of colour histograms and of chance on the test people");
  command->add_option("--threads", arguments->threads, "Threads that draw [one a core]")->check(CLI::Range(1, 1024));
  command->callback([arguments, &process] {
    if (process.world_size() > 1)
      throw ConfigError("muster synth runs as one process; start it without mpirun and give --threads");
    run_synth(*arguments);
  });
}

}  // namespace muster
