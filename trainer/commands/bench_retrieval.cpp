#include "trainer/commands/bench_retrieval.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "comm/local_communicator.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/resident_memory.h"
#include "trainer/commands/run_setup.h"
#include "trainer/commands/stopwatch.h"
#include "trainer/references/refinement.h"
#include "trainer/retrieval/fixed_product.h"
#include "trainer/retrieval/retrieval.h"

namespace muster {
namespace {

// Rows of the similarity matrix that the bare product holds at a time.
constexpr int64_t kSlab = 1024;

struct BenchRetrievalArguments {
  int64_t rows = 19848;  // ICFG-PEDES
  int64_t identities = 1000;
  int64_t width = 512;
  int threads = 0;
  int64_t references = 0;
  int64_t top_k = 0;
  int runs = 5;
};

EmbeddingRows draw_rows(const BenchRetrievalArguments& arguments, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return {at::randn({arguments.rows, arguments.width}, generator, at::kFloat),
          at::randint(arguments.identities, {arguments.rows}, generator, at::kLong)};
}

// The similarities of all texts and images, with nothing done to them: the yardstick.
void bare_product(const at::Tensor& texts, const at::Tensor& images) {
  const at::Tensor slab = at::empty({std::min(kSlab, texts.size(0)), images.size(0)}, at::kFloat);
  for (int64_t row = 0; row < texts.size(0); row += kSlab) {
    const int64_t rows = std::min(kSlab, texts.size(0) - row);
    at::Tensor similarities = slab.narrow(0, 0, rows);
    at::mm_out(similarities, texts.narrow(0, row, rows), images.t());
  }
}

// With references, against the evaluation without them in the same minutes: from rows to figures, for one beta.
void bench_refinement(const BenchRetrievalArguments& arguments, const EmbeddingRows& texts, const EmbeddingRows& images,
                      double plain_cpu) {
  LocalCommunicator alone;
  at::Generator generator = at::detail::createCPUGenerator(3);
  const ReferenceBasis basis{unit_matrix(at::randn({arguments.references, arguments.width}, generator, at::kFloat)),
                             at::zeros({arguments.width}, at::kFloat), at::zeros({arguments.width}, at::kFloat)};
  const auto measure = [&](const std::string& name, bool z_scores, int64_t top_k) {
    RefinementConfig config;
    config.set_z_scores(z_scores);
    std::vector<double> wall, cpu;
    for (int run = 0; run < arguments.runs; ++run) {
      const Seconds seconds = time_of(
          [&] { Refinement(basis, config, RefinementConfig::CENTRE, texts, images, alone).evaluate(1, top_k, alone); });
      wall.push_back(seconds.wall);
      cpu.push_back(seconds.cpu);
    }
    fmt::print("{:<24} {:>12.4f} {:>12.4f}   {:.3f} x the evaluation's processor time\n",
               name + (z_scores ? ", z-scores" : ", no z-scores"), median(wall), median(cpu), median(cpu) / plain_cpu);
  };
  for (const bool z_scores : {false, true}) measure("refined", z_scores, 0);
  if (arguments.top_k == 0) return;
  for (const bool z_scores : {false, true}) measure(fmt::format("{} best", arguments.top_k), z_scores, arguments.top_k);
}

void bench_retrieval(const BenchRetrievalArguments& arguments, Process& process) {
  if (process.world_size() > 1) throw ConfigError("muster bench retrieval measures one process; run it without mpirun");
  start_computing(process, arguments.threads);
  LocalCommunicator alone;
  const EmbeddingRows texts = draw_rows(arguments, 1), images = draw_rows(arguments, 2);
  const auto evaluate = [&] { evaluate_retrieval(texts, images, alone); };
  bare_product(texts.features.narrow(0, 0, 1), images.features);  // threads and code pages are not the evaluation's
  const double peak = peak_growth_mib(evaluate);
  std::vector<double> wall, cpu, bare_wall, bare_cpu, ratios;
  for (int run = 0; run < arguments.runs; ++run) {
    const Seconds bare = time_of([&] { bare_product(texts.features, images.features); });
    const Seconds both = time_of(evaluate);
    wall.push_back(both.wall);
    cpu.push_back(both.cpu);
    bare_wall.push_back(bare.wall);
    bare_cpu.push_back(bare.cpu);
    ratios.push_back(both.cpu / bare.cpu);
  }
  fmt::print("retrieval both ways, {} x {}, width {}, {} identities, {} threads, medians of {} interleaved runs\n",
             arguments.rows, arguments.rows, arguments.width, arguments.identities, at::get_num_threads(),
             arguments.runs);
  fmt::print("{:<24} {:>12} {:>12}\n", "", "wall s", "cpu s");
  fmt::print("{:<24} {:>12.4f} {:>12.4f}\n", "evaluation", median(wall), median(cpu));
  fmt::print("{:<24} {:>12.4f} {:>12.4f}\n", "one bare product", median(bare_wall), median(bare_cpu));
  fmt::print("{:<24} {:>12.3f} {:>12.3f}\n", "ratio", median(wall) / median(bare_wall), median(ratios));
  if (arguments.references > 0) bench_refinement(arguments, texts, images, median(cpu));
  fmt::print("peak memory {:.1f} MiB beyond the rows (rise of VmHWM over VmRSS)\n", peak);
}

}  // namespace

void add_bench_retrieval(CLI::App& bench, Process& process) {
  CLI::App* command = bench.add_subcommand(
      "retrieval", "Time and memory of the figures of retrieval, both ways, against one bare matrix product");
  const auto arguments = std::make_shared<BenchRetrievalArguments>();
  command->add_option("--rows", arguments->rows, "Images, and as many captions")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--identities", arguments->identities, "Identities drawn")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--width", arguments->width, "Width of the embeddings")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  auto* references =
      command->add_option("--references", arguments->references, "Also refined by so many references; 0: not")
          ->check(CLI::Range(0, 1 << 24))
          ->capture_default_str();
  command->add_option("--top-k", arguments->top_k, "Also refined among so many best of each query; 0: not")
      ->check(CLI::Range(0, 1 << 24))
      ->needs(references)
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "Threads; 0: all cores")->check(CLI::Range(0, 1024));
  command->add_option("--runs", arguments->runs, "Runs of each")->check(CLI::Range(1, 1000))->capture_default_str();
  command->callback([arguments, &process] { bench_retrieval(*arguments, process); });
}

}  // namespace muster
