#include "trainer/commands/bench_data.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "dataloader/formats/line_reader.h"
#include "dataloader/loader.h"
#include "dataloader/tokenizer.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/run_setup.h"
#include "trainer/commands/stopwatch.h"

namespace muster {
namespace {

struct LoaderArguments {
  std::string store;
  int width = 224;
  int height = 224;
  int64_t batch = 64;
  int64_t batches = 40;
  int workers = 2;
  int runs = 5;
  bool center_crop = false;
};

// One run: a loader from its start to its last batch.
Seconds run_loader(const LoaderArguments& arguments, const Store& store, const Tokenizer& tokenizer, uint64_t seed) {
  DataConfig data;
  data.set_workers(arguments.workers);
  if (arguments.center_crop) data.mutable_image()->set_fit(ImageTransformConfig::CENTER_CROP);
  const InputSize input{arguments.width, arguments.height, 77};
  return time_of([&] {
    Loader loader(store, data, input, tokenizer, {seed, arguments.batch, {}, 0, arguments.batches});
    for (int64_t i = 0; i < arguments.batches; ++i) loader.next();
  });
}

void bench_loader(const LoaderArguments& arguments, Process& process) {
  if (process.world_size() > 1) throw ConfigError("muster bench loader measures one process; run it without mpirun");
  start_computing(process, 1);
  const Store store(arguments.store);
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer({});
  const auto images = static_cast<double>(arguments.batch * arguments.batches);
  std::vector<double> wall, cpu;
  run_loader(arguments, store, *tokenizer, 0);  // files and code are in memory from here on
  for (int run = 1; run <= arguments.runs; ++run) {
    const Seconds seconds = run_loader(arguments, store, *tokenizer, static_cast<uint64_t>(run));
    wall.push_back(seconds.wall);
    cpu.push_back(seconds.cpu);
  }
  fmt::print(
      "{} images of {} -> {} x {}, captions -> 77 ids, {} workers, medians of {} runs\n{:.0f} images/s, {:.1f} us of "
      "processor time an image\n",
      images, arguments.store, arguments.width, arguments.height, arguments.workers, arguments.runs,
      images / median(wall), 1e6 * median(cpu) / images);
}

constexpr size_t kMostCaptionBytes = size_t{1} << 20;

struct TokenizerArguments {
  std::string captions;
  std::string tokenizer = "clip";
  int runs = 5;
};

void bench_tokenizer(const TokenizerArguments& arguments) {
  std::vector<std::string> captions;
  LineReader lines(arguments.captions, kMostCaptionBytes);
  for (std::string line; lines.next(line);) captions.push_back(line);
  if (captions.empty()) throw DataError(fmt::format("{}: has no lines; one line is one caption", arguments.captions));
  TokenizerConfig config;
  if (arguments.tokenizer == "wordpiece") config.set_kind(TokenizerConfig::WORDPIECE);
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(config);
  std::vector<int64_t> ids(77);
  std::vector<double> cpu;
  for (int run = 0; run < arguments.runs; ++run) {
    cpu.push_back(time_of([&] {
                    for (const std::string& caption : captions) tokenizer->encode(caption, ids.data(), 77);
                  }).cpu);
  }
  const auto count = static_cast<double>(captions.size());
  double words = 0;
  for (const std::string& caption : captions) {
    std::istringstream split(caption);
    words += static_cast<double>(std::distance(std::istream_iterator<std::string>(split), {}));
  }
  fmt::print("{} captions of {} -> 77 ids, {}, one thread, median of {} runs\n", count, arguments.captions,
             arguments.tokenizer, arguments.runs);
  fmt::print("{:.0f} captions/s, {:.0f} words/s of processor time\n", count / median(cpu), words / median(cpu));
}

}  // namespace

void add_data_benchmarks(CLI::App& bench, Process& process) {
  CLI::App* loader = bench.add_subcommand("loader", "Images of a store's train split to batches, a second");
  const auto arguments = std::make_shared<LoaderArguments>();
  loader->add_option("--data", arguments->store, "Store")->required();
  loader->add_option("--width", arguments->width, "Pixels")->check(CLI::Range(1, 4096))->capture_default_str();
  loader->add_option("--height", arguments->height, "Pixels")->check(CLI::Range(1, 4096))->capture_default_str();
  loader->add_flag("--center-crop", arguments->center_crop, "Fit by cropping, not stretching");
  loader->add_option("--batch", arguments->batch, "Images a batch")->check(CLI::Range(1, 1 << 20));
  loader->add_option("--batches", arguments->batches, "Batches a run")->check(CLI::Range(1, 1 << 20));
  loader->add_option("--workers", arguments->workers, "Threads")->check(CLI::Range(1, 1024))->capture_default_str();
  loader->add_option("--runs", arguments->runs, "Runs")->check(CLI::Range(1, 1000))->capture_default_str();
  loader->callback([arguments, &process] { bench_loader(*arguments, process); });

  CLI::App* tokenizer = bench.add_subcommand("tokenizer", "Captions to ids, a second of one thread");
  const auto text = std::make_shared<TokenizerArguments>();
  tokenizer->add_option("--captions", text->captions, "File, one caption a line")->required();
  tokenizer->add_option("--tokenizer", text->tokenizer, "clip, or wordpiece (BERT's, lower-cased)")
      ->check(CLI::IsMember({"clip", "wordpiece"}))
      ->capture_default_str();
  tokenizer->add_option("--runs", text->runs, "Runs")->check(CLI::Range(1, 1000))->capture_default_str();
  tokenizer->callback([text, &process] {
    if (process.rank() == 0) bench_tokenizer(*text);
  });
}

}  // namespace muster
