#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "comm/gradient_reducer.h"
#include "comm/make_communicator.h"
#include "configs/load.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/chunk_search.h"
#include "trainer/commands/bench_device.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/run_setup.h"
#include "trainer/commands/stopwatch.h"
#include "trainer/device.h"
#include "trainer/device_memory.h"
#include "trainer/host_memory.h"
#include "trainer/replica.h"
#include "trainer/step.h"
#include "trainer/step_cost.h"

namespace muster {
namespace {

constexpr const char* kMini =
    "model { preset: MINI } objective { term { info_nce { positives: PAIR } } } train { steps: 1 }";
constexpr int kWarmUp = 3;  // the first steps allocate

struct BenchTrainArguments {
  std::string config;
  std::vector<std::string> overrides;
  int64_t batch = 64;
  int64_t caption_tokens = 0;
  int threads = 0;
  int steps = 20;
  double memory_limit = 0;
};

int64_t caption_tokens(const ModelConfig& model, const BenchTrainArguments& arguments) {
  const int64_t context = model.text().context();
  const int64_t used = arguments.caption_tokens == 0 ? context : arguments.caption_tokens;
  if (used > context || used < 2) {
    throw ConfigError(fmt::format("--caption-tokens is {}: give 2 to model.text.context ({})", used, context));
  }
  return used;
}

Batch draw_batch(const ModelConfig& model, int64_t rows, int64_t used, int rank) {
  at::Generator generator = at::detail::createCPUGenerator(static_cast<uint64_t>(rank));
  const int64_t context = model.text().context(), end = model.text().vocabulary() - 1;
  Batch batch;
  batch.images = at::randn({rows, 3, model.image().height_pixels(), model.image().width_pixels()}, generator);
  batch.tokens = at::randint(1, end - 1, {rows, context}, generator, at::kLong);
  batch.tokens.select(1, 0).fill_(end - 1);
  batch.tokens.narrow(1, used - 1, context - used + 1).zero_();
  batch.tokens.select(1, used - 1).fill_(end);
  batch.position = at::arange(rank * rows, (rank + 1) * rows, at::kLong);
  batch.identity = batch.image_id = batch.position;
  return batch;
}

double sum_over_ranks(double value, Communicator& communicator) {
  const at::Tensor sum = at::full({1}, value, at::kDouble);
  communicator.all_reduce(sum, ReduceOp::kSum, "bench").wait();
  return sum.item<double>();
}

// Each row: what a second does, and what share that is of all ranks' matrix products at once.
void print_rates(const StepFlop& flop, int ranks, double seconds, const std::vector<NamedRate>& products) {
  const auto print = [&](const std::string& what, double rate) {
    fmt::print("{:<36} {}\n", what, rate_and_shares(rate, products));
  };
  for (const NamedRate& rate : products) print("matrix products alone, " + rate.name, rate.flops);
  print("the step", ranks * flop.sum() / seconds);
  print("encoders, each forward once", ranks * (flop.forward + flop.backward) / seconds);
  print("loss", ranks * flop.loss / seconds);
}

void bench_train(const BenchTrainArguments& arguments, Process& process) {
  const RunConfig config = arguments.config.empty() ? parse_run_config(kMini, "mini", arguments.overrides)
                                                    : load_run_config(arguments.config, arguments.overrides);
  const TrainConfig& train = config.train();
  start_computing(process, arguments.threads);
  const int64_t host_memory = available_host_memory() / process.local_size();
  const at::Device device = choose_device(train.device(), process);
  limit_memory(device, arguments.memory_limit);
  const bool bf16 = train.precision() == TrainConfig::BF16;
  const std::unique_ptr<Communicator> communicator = make_communicator(process, config.comm(), device);
  const std::shared_ptr<Model> model = make_model(config.model(), train.seed());
  model->to(device);
  LossObjective objective(config.objective(), loss_device(device, bf16));
  const NamedParameters trainable = take_trainable(*model, objective, train.optimizer());
  Optimizer optimizer(trainable, train.optimizer(), model->layers_above());
  GradientReducer reducer(trainable, *communicator, config.comm().bucket_bytes());
  TrainingStep step(*model, objective, trainable, reducer, optimizer, *communicator, step_options(train));
  StepJob job;
  job.settings = to_settings(config);
  job.settings.train.set_global_batch(arguments.batch * process.world_size());
  job.world = process.world_size();
  job.caption_tokens = caption_tokens(config.model(), arguments);
  Batch batch = draw_batch(config.model(), arguments.batch, job.caption_tokens, process.rank());
  batch.images = batch.images.to(device);
  model->train();
  if (train.chunk() == kAutoChunk) {
    const int64_t chunk = find_chunk(step, job, device, host_memory, *communicator);
    step.set_chunk(chunk);
    job.settings.train.set_chunk(chunk);
  }
  reset_peak_memory(device);

  std::vector<double> wall, cpu;
  for (int i = 0; i < kWarmUp + arguments.steps; ++i) {
    communicator->barrier("step");
    const Seconds seconds = device_time_of(device, [&] { step.run(batch, {i, 0}, 1); });
    if (i < kWarmUp) continue;
    wall.push_back(seconds.wall);
    cpu.push_back(seconds.cpu);
  }
  const std::string memory = describe_device_memory(device);
  communicator->barrier("matrix rate");
  std::vector<NamedRate> products = matrix_rates(device, bf16 ? at::kBFloat16 : at::kFloat);
  for (NamedRate& rate : products) rate.flops = sum_over_ranks(rate.flops, *communicator);
  if (process.rank() != 0) return;
  const double median_wall = median(wall);
  fmt::print(
      "{} ranks x {}, batch {} a rank: median of {} steps {:.4f} s ({:.1f} samples/s), least {:.4f} s, "
      "processor time of rank 0 {:.4f} s a step\n",
      process.world_size(), device.is_cpu() ? fmt::format("{} threads", at::get_num_threads()) : "one GPU",
      arguments.batch, arguments.steps, median_wall,
      static_cast<double>(process.world_size()) * static_cast<double>(arguments.batch) / median_wall,
      *std::min_element(wall.begin(), wall.end()), median(cpu));
  print_rates(step_flop(job, 0), process.world_size(), median_wall, products);
  if (!memory.empty()) fmt::print("GPU of rank 0: {}\n", memory);
}

}  // namespace

void add_bench_train(CLI::App& bench, Process& process) {
  CLI::App* command = bench.add_subcommand(
      "train",
      "Time of a training step on drawn data in memory, and what share of the machine's matrix products it reaches; "
      "works under mpirun (tests/peers/open_clip_step.py is the same step in open_clip)");
  const auto arguments = std::make_shared<BenchTrainArguments>();
  command->add_option("--config", arguments->config, "Run config; default: the preset MINI with plain InfoNCE");
  command->add_option("--set", arguments->overrides, "Override a field: --set train.precision=BF16")->take_all();
  command->add_option("--batch", arguments->batch, "Pairs a rank")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--caption-tokens", arguments->caption_tokens, "Length of captions; 0: model.text.context")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--threads", arguments->threads, "Threads a rank; 0: cores / ranks")->check(CLI::Range(0, 1024));
  command->add_option("--steps", arguments->steps, "Steps measured")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  add_memory_limit(*command, arguments->memory_limit);
  command->callback([arguments, &process] { bench_train(*arguments, process); });
}

}  // namespace muster
