#include "trainer/commands/bench_alignment.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "comm/local_communicator.h"
#include "configs/strict_parser.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/resident_memory.h"
#include "trainer/commands/run_setup.h"
#include "trainer/commands/stopwatch.h"
#include "trainer/losses/objective.h"
#include "trainer/retrieval/set_retrieval.h"

namespace muster {
namespace {

// Rows of the matrix of products that the bare product holds at a time.
constexpr int64_t kSlab = 1024;
constexpr double kMiB = 1 << 20;

struct BenchAlignmentArguments {
  int64_t batch = 256;
  int64_t width = 1024;
  int64_t regions = 36;
  int64_t words = 12;
  int64_t images = 0;
  int64_t captions = 5;
  int threads = 0;
  int runs = 5;
  std::string objective = "term { pair: 'alignment' triplet { margin: 0.2 reduction: SUM } }";
};

struct Sets {
  at::Tensor regions, words;
  SetSizes sizes;

  double inputs_mib() const { return static_cast<double>(regions.nbytes() + words.nbytes()) / kMiB; }
  double flop() const {
    return 2.0 * static_cast<double>(regions.size(0)) * static_cast<double>(words.size(0)) *
           static_cast<double>(regions.size(1));
  }
};

// Captions of half to one and a half times the words.
Sets draw_sets(const BenchAlignmentArguments& arguments, int64_t images, int64_t captions) {
  at::Generator generator = at::detail::createCPUGenerator(1);
  Sets sets;
  sets.sizes.image.assign(static_cast<size_t>(images), arguments.regions);
  const int64_t least = std::max<int64_t>(1, arguments.words / 2);
  const at::Tensor drawn = at::randint(least, 2 * arguments.words - least + 1, {captions}, generator, at::kLong);
  sets.sizes.text.assign(drawn.const_data_ptr<int64_t>(), drawn.const_data_ptr<int64_t>() + captions);
  const int64_t words = std::accumulate(sets.sizes.text.begin(), sets.sizes.text.end(), int64_t{0});
  sets.regions = at::randn({images * arguments.regions, arguments.width}, generator, at::kFloat);
  sets.words = at::randn({words, arguments.width}, generator, at::kFloat);
  return sets;
}

// All products of regions and words, and nothing with them: the yardstick.
class BareProduct {
 public:
  explicit BareProduct(const Sets& sets)
      : sets_(sets),
        slab_(at::empty({std::min(kSlab, sets.regions.size(0)), sets.words.size(0)}, sets.regions.options())) {}

  void run() {
    for (int64_t row = 0; row < sets_.regions.size(0); row += kSlab) {
      const int64_t rows = std::min(kSlab, sets_.regions.size(0) - row);
      at::Tensor products = slab_.narrow(0, 0, rows);
      at::mm_out(products, sets_.regions.narrow(0, row, rows), sets_.words.t());
    }
  }

 private:
  const Sets& sets_;
  at::Tensor slab_;
};

struct Times {
  std::vector<double> wall, cpu, ratio;

  void add(const Seconds& seconds, const Seconds& bare) {
    wall.push_back(seconds.wall);
    cpu.push_back(seconds.cpu);
    ratio.push_back(seconds.cpu / bare.cpu);
  }
  void print(const std::string& name) const {
    fmt::print("{:<26} {:>10.4f} {:>10.4f}   {:.3f} x the product's processor time\n", name, median(wall), median(cpu),
               median(ratio));
  }
};

void print_head(const std::string& what, const BenchAlignmentArguments& arguments) {
  fmt::print("{}, {} regions, about {} words, width {}, float32, {} threads, medians of {} interleaved runs\n", what,
             arguments.regions, arguments.words, arguments.width, at::get_num_threads(), arguments.runs);
  fmt::print("{:<26} {:>10} {:>10}\n", "", "wall s", "cpu s");
}

void bench_loss(const BenchAlignmentArguments& arguments) {
  Objective config;
  const std::vector<std::string> problems = parse_strictly(arguments.objective, "--objective", config);
  if (!problems.empty()) throw ConfigError(problems.front());
  // Scores without a loss: every hinge of margin 0 is 0 where an image's captions are some of its regions.
  Objective no_loss;
  no_loss.add_term()->mutable_triplet()->set_margin(0);
  no_loss.mutable_term(0)->set_pair("alignment");
  *no_loss.mutable_alignment() = config.alignment();
  LossObjective objective(config), forward(no_loss);
  LocalCommunicator alone;
  const Sets sets = draw_sets(arguments, arguments.batch, arguments.batch);
  Labels labels;
  labels.identity = at::arange(arguments.batch, at::kLong);
  Features features, matched;
  features.pairs.push_back({"alignment", sets.regions, sets.words, sets.sizes});
  matched = features;
  std::vector<int64_t> own;
  for (int64_t i = 0; i < arguments.batch; ++i) {
    for (int64_t w = 0; w < sets.sizes.text[static_cast<size_t>(i)]; ++w) {
      own.push_back(i * arguments.regions + w % arguments.regions);
    }
  }
  at::Tensor index = at::empty({static_cast<int64_t>(own.size())}, at::kLong);
  std::copy(own.begin(), own.end(), index.mutable_data_ptr<int64_t>());
  matched.pairs[0].text = sets.regions.index_select(0, index);
  const auto evaluate = [&] { objective.evaluate(features, labels, {}, alone); };
  // Threads and code pages are not the loss's.
  const Sets some = draw_sets(arguments, 8, 8);
  Features few;
  few.pairs.push_back({"alignment", some.regions, some.words, some.sizes});
  objective.evaluate(few, {at::arange(8, at::kLong), {}, {}, {}}, {}, alone);
  const double peak = peak_growth_mib(evaluate);
  BareProduct product(sets);
  product.run();
  Times whole, scores, bare;
  for (int run = 0; run < arguments.runs; ++run) {
    const Seconds of_product = time_of([&] { product.run(); });
    whole.add(time_of(evaluate), of_product);
    scores.add(time_of([&] { forward.evaluate(matched, labels, {}, alone); }), of_product);
    bare.add(of_product, of_product);
  }
  print_head(fmt::format("alignment of {} pairs", arguments.batch), arguments);
  bare.print("one bare product");
  scores.print("scores, no gradient");
  whole.print("loss and gradients");
  fmt::print("gradients: {:.1f} % of the scores' processor time; products at {:.1f} GFLOP/s\n",
             100 * (median(whole.cpu) / median(scores.cpu) - 1), 1e-9 * sets.flop() / median(bare.wall));
  fmt::print(
      "peak memory {:.1f} MiB beyond {:.1f} MiB of inputs, {:.1f} MiB of it gradients (rise of VmHWM over VmRSS)\n",
      peak, sets.inputs_mib(), sets.inputs_mib());
}

void bench_evaluation(const BenchAlignmentArguments& arguments) {
  const int64_t captions = arguments.images * arguments.captions;
  const Sets sets = draw_sets(arguments, arguments.images, captions);
  LocalCommunicator alone;
  Objective objective;
  const std::vector<std::string> problems = parse_strictly(arguments.objective, "--objective", objective);
  if (!problems.empty()) throw ConfigError(problems.front());
  const EmbeddingSets images{sets.regions, sets.sizes.image, at::arange(arguments.images, at::kLong)};
  const EmbeddingSets texts{sets.words, sets.sizes.text,
                            at::arange(captions, at::kLong).div(arguments.captions, "floor")};
  const auto evaluate = [&] { evaluate_sets(texts, images, make_alignment(objective.alignment()), alone); };
  const double peak = peak_growth_mib(evaluate);
  BareProduct product(sets);
  product.run();
  Times whole, bare;
  for (int run = 0; run < arguments.runs; ++run) {
    const Seconds of_product = time_of([&] { product.run(); });
    whole.add(time_of(evaluate), of_product);
    bare.add(of_product, of_product);
  }
  print_head(fmt::format("retrieval both ways by alignment, {} images, {} captions", arguments.images, captions),
             arguments);
  bare.print("one bare product");
  whole.print("evaluation");
  fmt::print("peak memory {:.1f} MiB beyond {:.1f} MiB of inputs (rise of VmHWM over VmRSS)\n", peak,
             sets.inputs_mib());
}

void bench_alignment(const BenchAlignmentArguments& arguments, Process& process) {
  if (process.world_size() > 1) throw ConfigError("muster bench alignment measures one process; run it without mpirun");
  start_computing(process, arguments.threads);
  if (arguments.images > 0) {
    bench_evaluation(arguments);
  } else {
    bench_loss(arguments);
  }
}

}  // namespace

void add_bench_alignment(CLI::App& bench, Process& process) {
  CLI::App* command = bench.add_subcommand(
      "alignment", "Time and memory of losses and retrieval by regions and words, against one bare matrix product");
  const auto arguments = std::make_shared<BenchAlignmentArguments>();
  auto* batch = command->add_option("--batch", arguments->batch, "Pairs of the loss")
                    ->check(CLI::Range(2, 1 << 16))
                    ->capture_default_str();
  command->add_option("--width", arguments->width, "Width of the features")
      ->check(CLI::Range(1, 1 << 14))
      ->capture_default_str();
  command->add_option("--regions", arguments->regions, "Regions an image")
      ->check(CLI::Range(int64_t{1}, kMostRegions))
      ->capture_default_str();
  command->add_option("--words", arguments->words, "Words a caption, about")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  auto* images = command->add_option("--images", arguments->images, "Retrieval of so many images in place of a loss")
                     ->check(CLI::Range(1, 1 << 20))
                     ->excludes(batch);
  command->add_option("--captions", arguments->captions, "Captions an image, of retrieval")
      ->check(CLI::Range(1, 100))
      ->needs(images)
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "Threads; 0: all cores")->check(CLI::Range(0, 1024));
  command->add_option("--runs", arguments->runs, "Runs of each")->check(CLI::Range(1, 1000))->capture_default_str();
  command
      ->add_option("--objective", arguments->objective,
                   "Terms on the pair alignment, and how scores are made, in protobuf text format")
      ->capture_default_str();
  command->callback([arguments, &process] { bench_alignment(*arguments, process); });
}

}  // namespace muster
