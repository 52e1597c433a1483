#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "comm/make_communicator.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/matrix_rate.h"
#include "trainer/commands/resident_memory.h"
#include "trainer/commands/run_setup.h"
#include "trainer/commands/stopwatch.h"
#include "trainer/references/reference_bank.h"
#include "trainer/references/reference_file.h"
#include "trainer/step_cost.h"

namespace muster {
namespace {

struct BenchReferencesArguments {
  std::vector<int64_t> identities = {1000, 10000, 100000};
  int64_t batch = 64;
  int64_t width = 512;
  int threads = 0;
  int steps = 5;
  std::string placement = "both";
  std::string file;
};

struct Row {
  double step_seconds = 0;  // median of the slowest rank
  double bytes = 0;         // that a rank hands to collectives in a step
  double memory_mib = 0;    // largest of the ranks
  double save_seconds = 0;
};

double largest_of_ranks(double value, Communicator& communicator) {
  const at::Tensor all = at::full({1}, value, at::kDouble);
  communicator.all_reduce(all, ReduceOp::kMax, "bench").wait();
  return all.item<double>();
}

// Both losses and both gradients, as measure() asks for.
ReferencesConfig bank_config(ReferencesConfig::Placement placement) {
  ReferencesConfig config;
  config.set_fusion_weight(1);
  config.set_guidance_weight(1);
  config.set_guidance_ramp_epochs(0);
  config.set_placement(placement);
  return config;
}

// FLOP of a step of the bank on rank 0, which has most rows.
double flop_of(const BenchReferencesArguments& arguments, int64_t identities, ReferencesConfig::Placement placement,
               int ranks) {
  StepJob job;
  job.settings.references = bank_config(placement);
  job.settings.model.set_joint_width(static_cast<int>(arguments.width));
  job.settings.train.set_global_batch(arguments.batch * ranks);
  job.world = ranks;
  job.identities = identities;
  return references_flop(job, 0);
}

Row measure(const BenchReferencesArguments& arguments, int64_t identities, ReferencesConfig::Placement placement,
            Communicator& communicator) {
  const ReferencesConfig config = bank_config(placement);
  at::Generator generator = at::detail::createCPUGenerator(static_cast<uint64_t>(communicator.rank()) + 1);
  const FeaturePair features{"global", at::randn({arguments.batch, arguments.width}, generator, at::kFloat),
                             at::randn({arguments.batch, arguments.width}, generator, at::kFloat)};
  Labels labels;
  labels.identity = at::randint(identities, {arguments.batch}, generator, at::kLong);
  Row row;
  row.memory_mib = peak_growth_mib([&] {
    std::vector<int64_t> ids(static_cast<size_t>(identities));
    std::iota(ids.begin(), ids.end(), 0);
    ReferenceBank bank(config, std::move(ids), arguments.width, 1, arguments.batch * communicator.size(), communicator);
    bank.initialise_normal();
    std::vector<double> seconds;
    int64_t bytes = 0;
    for (int step = 0; step <= arguments.steps; ++step) {
      communicator.barrier("bench");
      const int64_t before = communicator.bytes_started();
      const double wall = time_of([&] {
                            bank.evaluate(features, labels, {});
                            bank.finish_gradient();
                            bank.step(1, 1);
                          }).wall;
      bytes = communicator.bytes_started() - before;
      if (step > 0) seconds.push_back(wall);  // the first one allocates
    }
    row.step_seconds = median(seconds);
    row.bytes = static_cast<double>(bytes);
    if (!arguments.file.empty()) {
      row.save_seconds = time_of([&] {
                           if (bank.is_sharded()) return write_references(arguments.file, bank, {}, communicator);
                           if (communicator.rank() == 0) write_safetensors(arguments.file, reference_tensors(bank, {}));
                         }).wall;
      communicator.barrier("bench");
      if (communicator.rank() == 0) unlink(arguments.file.c_str());
    }
  });
  row.step_seconds = largest_of_ranks(row.step_seconds, communicator);
  row.memory_mib = largest_of_ranks(row.memory_mib, communicator);
  row.save_seconds = largest_of_ranks(row.save_seconds, communicator);
  return row;
}

void bench_references(const BenchReferencesArguments& arguments, Process& process) {
  start_computing(process, arguments.threads);
  const std::unique_ptr<Communicator> communicator = make_communicator(process, CommConfig());
  const bool prints = communicator->rank() == 0;
  communicator->barrier("bench");
  const double rate = matrix_rate();  // beside the other ranks, as the steps
  if (prints) {
    fmt::print("reference bank of width {}, float32, {} ranks of {} threads, {} pairs a rank, medians of {} steps\n",
               arguments.width, communicator->size(), at::get_num_threads(), arguments.batch, arguments.steps);
    fmt::print("matrix products: {:.1f} GFLOP/s a rank\n", 1e-9 * rate);
    fmt::print("{:>10} {:<12} {:>10} {:>10} {:>12} {:>16} {:>12} {:>12} {:>9}\n", "identities", "placement", "step ms",
               "GFLOP/s", "of products", "handed MB/step", "memory MiB", "4 x own MiB", "save s");
  }
  for (const int64_t identities : arguments.identities) {
    for (const auto placement : {ReferencesConfig::REPLICATED, ReferencesConfig::SHARDED}) {
      if (arguments.placement == "sharded" && placement == ReferencesConfig::REPLICATED) continue;
      if (arguments.placement == "replicated" && placement == ReferencesConfig::SHARDED) continue;
      const Row row = measure(arguments, identities, placement, *communicator);
      const double own = static_cast<double>(
          placement == ReferencesConfig::SHARDED ? split_rows(identities, communicator->size()).front() : identities);
      if (!prints) continue;
      const double reached = flop_of(arguments, identities, placement, communicator->size()) / row.step_seconds;
      fmt::print("{:>10} {:<12} {:>10.2f} {:>10.1f} {:>10.1f} % {:>16.3f} {:>12.1f} {:>12.1f} {:>9.2f}\n", identities,
                 ReferencesConfig::Placement_Name(placement), 1e3 * row.step_seconds, 1e-9 * reached,
                 100 * reached / rate, 1e-6 * row.bytes, row.memory_mib,
                 4 * own * static_cast<double>(arguments.width) * sizeof(float) / (1 << 20), row.save_seconds);
    }
  }
}

}  // namespace

void add_bench_references(CLI::App& bench, Process& process) {
  CLI::App* command = bench.add_subcommand(
      "references", "Time, traffic and memory of the reference bank, both placements; under mpirun for several ranks");
  const auto arguments = std::make_shared<BenchReferencesArguments>();
  command->add_option("--identities", arguments->identities, "Sizes of the bank")
      ->delimiter(',')
      ->check(CLI::Range(2, 1 << 30))
      ->capture_default_str();
  command->add_option("--batch", arguments->batch, "Pairs a rank")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--width", arguments->width, "Width of the features")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "Threads a rank; 0: cores / ranks")->check(CLI::Range(0, 1024));
  command->add_option("--steps", arguments->steps, "Steps measured")->check(CLI::Range(1, 1000))->capture_default_str();
  command->add_option("--placement", arguments->placement, "replicated, sharded or both")
      ->check(CLI::IsMember({"replicated", "sharded", "both"}))
      ->capture_default_str();
  command->add_option("--file", arguments->file, "Save the bank there as well, and delete it");
  command->callback([arguments, &process] { bench_references(*arguments, process); });
}

}  // namespace muster
