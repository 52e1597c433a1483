#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "comm/local_communicator.h"
#include "configs/strict_parser.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/bench_alignment.h"
#include "trainer/commands/bench_data.h"
#include "trainer/commands/bench_device.h"
#include "trainer/commands/bench_retrieval.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/resident_memory.h"
#include "trainer/commands/run_setup.h"
#include "trainer/commands/stopwatch.h"
#include "trainer/device.h"
#include "trainer/device_memory.h"
#include "trainer/losses/objective.h"

namespace muster {
namespace {

// Rows of the similarity matrix that the bare products hold at a time.
constexpr int64_t kSlab = 4096;

struct BenchArguments {
  int64_t batch = 8192;
  int64_t width = 512;
  int threads = 0;
  int runs = 5;
  std::string objective = "term { info_nce { positives: IDENTITY } }";
  std::string device = "AUTO";
  bool half = false;
  double memory_limit = 0;
};

Features draw_features(int64_t batch, int64_t width, at::Device device) {
  at::Generator generator = at::detail::createCPUGenerator(1);
  Features features;
  features.pairs.push_back(
      {"global", at::randn({batch, width}, generator, at::kFloat), at::randn({batch, width}, generator, at::kFloat)});
  features.pairs[0].image = features.pairs[0].image.to(device);
  features.pairs[0].text = features.pairs[0].text.to(device);
  return features;
}

// The four products that any loss over all pairs needs, twice for the similarities and once for each gradient, with
// nothing in between: the yardstick.
class BareProducts {
 public:
  BareProducts(const Features& features, int64_t batch)
      : image_(features.pairs[0].image),
        text_(features.pairs[0].text),
        slab_(at::empty({std::min(batch, kSlab), batch}, image_.options())),
        d_image_(at::empty_like(image_)),
        d_text_(at::empty_like(text_)) {}

  void run() {
    for (int64_t row = 0; row < image_.size(0); row += kSlab) {
      const int64_t rows = std::min(kSlab, image_.size(0) - row);
      const at::Tensor image = image_.narrow(0, row, rows);
      at::Tensor similarities = slab_.narrow(0, 0, rows);
      at::Tensor d_image = d_image_.narrow(0, row, rows);
      at::mm_out(similarities, image, text_.t());
      at::mm_out(similarities, image, text_.t());
      at::mm_out(d_image, similarities, text_);
      if (row == 0) {
        at::mm_out(d_text_, similarities.t(), image);
      } else {
        at::addmm_out(d_text_, d_text_, similarities.t(), image);
      }
    }
  }

 private:
  at::Tensor image_;
  at::Tensor text_;
  at::Tensor slab_;
  at::Tensor d_image_;
  at::Tensor d_text_;
};

void bench_loss(const BenchArguments& arguments, Process& process) {
  if (process.world_size() > 1) throw ConfigError("muster bench loss measures one process; run it without mpirun");
  start_computing(process, arguments.threads);
  Objective config;
  const std::vector<std::string> problems = parse_strictly(arguments.objective, "--objective", config);
  if (!problems.empty()) throw ConfigError(problems.front());
  TrainConfig::Device wanted = TrainConfig::AUTO;
  TrainConfig::Device_Parse(arguments.device, &wanted);
  const at::Device device = choose_device(wanted, process);
  limit_memory(device, arguments.memory_limit);
  if (arguments.half && device.is_cpu()) {
    throw ConfigError("--half: products in float16 are a GPU's, and this is computed on the CPU; leave it out");
  }
  LossObjective objective(config, loss_device(device, arguments.half));
  LocalCommunicator local;
  const auto evaluate = [&](const Features& features, const Labels& labels) {
    objective.evaluate(features, labels, {}, local);
  };
  at::Generator generator = at::detail::createCPUGenerator(2);
  Labels labels;
  labels.identity = at::randint(std::max<int64_t>(1, arguments.batch / 2), {arguments.batch}, generator, at::kLong);
  const Features features = draw_features(arguments.batch, arguments.width, device);

  Labels few;
  few.identity = labels.identity.narrow(0, 0, std::min<int64_t>(arguments.batch, 64));
  evaluate(draw_features(few.identity.size(0), arguments.width, device),
           few);  // threads and code pages are not the loss's
  const double gradients = 2.0 * static_cast<double>(arguments.batch * arguments.width) * sizeof(float) / (1 << 20);
  const double peak = peak_growth_mib([&] { evaluate(features, labels); });
  reset_peak_memory(device);
  evaluate(features, labels);
  const std::string memory = describe_device_memory(device);

  BareProducts products(features, arguments.batch);
  products.run();
  std::vector<double> loss_wall, loss_cpu, bare_wall, bare_cpu, ratios;
  for (int run = 0; run < arguments.runs; ++run) {
    const Seconds bare = device_time_of(device, [&] { products.run(); });
    const Seconds loss = device_time_of(device, [&] { evaluate(features, labels); });
    loss_wall.push_back(loss.wall);
    loss_cpu.push_back(loss.cpu);
    bare_wall.push_back(bare.wall);
    bare_cpu.push_back(bare.cpu);
    ratios.push_back(loss.cpu / bare.cpu);
  }
  const std::vector<NamedRate> rates = matrix_rates(device, at::kFloat);
  const auto size = static_cast<double>(arguments.batch);
  const double flop = 8.0 * size * size * static_cast<double>(arguments.width);
  fmt::print("loss of {} pairs of width {}, float32{}, {}, medians of {} interleaved runs: {}\n", arguments.batch,
             arguments.width, arguments.half ? " by float16 products" : "",
             device.is_cpu() ? fmt::format("{} threads", at::get_num_threads()) : device.str(), arguments.runs,
             arguments.objective);
  fmt::print("{:<24} {:>12} {:>12}\n", "", "wall s", "cpu s");
  for (const auto& [what, wall, cpu] :
       {std::tuple("evaluate", &loss_wall, &loss_cpu), std::tuple("four bare products", &bare_wall, &bare_cpu)}) {
    const double reached = flop / median(*wall);
    fmt::print("{:<24} {:>12.4f} {:>12.4f} {}\n", what, median(*wall), median(*cpu), rate_and_shares(reached, rates));
  }
  fmt::print("{:<24} {:>12.3f} {:>12.3f}\n", "ratio", median(loss_wall) / median(bare_wall), median(ratios));
  for (const NamedRate& rate : rates) {
    fmt::print("products in {}: {:.1f} GFLOP/s of large square ones here\n", rate.name, 1e-9 * rate.flops);
  }
  fmt::print("a loss makes four of its own size, three where all pairs are one tile\n");
  if (!memory.empty()) fmt::print("GPU: {}\n", memory);
  if (!device.is_cpu()) return;
  fmt::print("peak memory {:.1f} MiB: {:.1f} MiB the two gradients, {:.1f} MiB beyond (rise of VmHWM over VmRSS)\n",
             peak, gradients, std::max(0.0, peak - gradients));
}

}  // namespace

void add_bench_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("bench", "Measure a part on this machine");
  command->require_subcommand(1);
  add_bench_train(*command, process);
  add_bench_alignment(*command, process);
  add_bench_retrieval(*command, process);
  add_data_benchmarks(*command, process);
  add_bench_references(*command, process);
  add_bench_search(*command, process);
  CLI::App* loss =
      command->add_subcommand("loss", "Time and memory of the global loss against four bare matrix products");
  const auto arguments = std::make_shared<BenchArguments>();
  loss->add_option("--batch", arguments->batch, "Pairs")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  loss->add_option("--width", arguments->width, "Width of the features")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  loss->add_option("--threads", arguments->threads, "Threads; 0: all cores")->check(CLI::Range(0, 1024));
  loss->add_option("--runs", arguments->runs, "Runs of each")->check(CLI::Range(1, 1000))->capture_default_str();
  loss->add_option("--device", arguments->device, "AUTO, CPU or CUDA, as train.device")
      ->check(CLI::IsMember({"AUTO", "CPU", "CUDA"}))
      ->capture_default_str();
  loss->add_flag("--half", arguments->half, "Products in float16, as train.precision=BF16 has them on a GPU");
  add_memory_limit(*loss, arguments->memory_limit);
  loss->add_option("--objective", arguments->objective, "Its terms, in protobuf text format")->capture_default_str();
  loss->callback([arguments, &process] { bench_loss(*arguments, process); });
}

}  // namespace muster
