#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "comm/gradient_reducer.h"
#include "comm/make_communicator.h"
#include "configs/load.h"
#include "dataloader/text_transform.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/chunk_search.h"
#include "trainer/commands/bench_device.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/run_setup.h"
#include "trainer/commands/stopwatch.h"
#include "trainer/device.h"
#include "trainer/device_memory.h"
#include "trainer/encoders/model_config.h"
#include "trainer/encoders/model_cost.h"
#include "trainer/head_cost.h"
#include "trainer/head_start.h"
#include "trainer/heads/head_losses.h"
#include "trainer/host_memory.h"
#include "trainer/references/reference_bank.h"
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
  if (has_sets(model)) {
    const int64_t regions = rows * kUsualRegions;
    batch.regions = at::rand({regions, model.regions().width()}, generator).to(at::kHalf);
    batch.boxes = at::rand({regions, kBoxNumbers}, generator);
    batch.region_counts = at::full({rows}, kUsualRegions, at::kLong);
  } else {
    batch.images = at::randn({rows, 3, model.image().height_pixels(), model.image().width_pixels()}, generator);
  }
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

// Identities and words of such batches; all words are seen.
HeadData head_data(const ModelConfig& model, int64_t rows, int ranks) {
  HeadData data;
  data.identities.resize(static_cast<size_t>(rows * ranks));
  std::iota(data.identities.begin(), data.identities.end(), 0);
  const int64_t mask = model.text().vocabulary() - 3;  // as CLIP's: before start and end
  data.words = {1, mask, mask};
  data.seen.resize(static_cast<size_t>(mask - 1));
  std::iota(data.seen.begin(), data.seen.end(), 1);
  return data;
}

// What a run has on one rank, without data and references.
class Replica {
 public:
  Replica(const RunSettings& settings, const HeadData& data, Communicator& communicator, at::Device device)
      : model_(make_model(settings.model, settings.train.seed())),
        heads_(make_heads(settings, data)),
        objective_(settings.objective, loss_device(device, settings.train.precision() == TrainConfig::BF16)),
        trainable_(on_device(device, settings.train.optimizer())),
        optimizer_(trainable_, settings.train.optimizer(), model_->layers_above()),
        reducer_(trainable_, communicator, settings.comm.bucket_bytes()),
        head_losses_(heads_, *model_, communicator),
        step_(*model_, objective_, trainable_, reducer_, optimizer_, communicator, step_options(settings.train),
              nullptr, heads_.empty() ? nullptr : &head_losses_) {
    model_->train();
  }

  TrainingStep& step() { return step_; }
  std::vector<ParameterSize> head_parameters() const {
    std::vector<ParameterSize> sizes;
    for (const auto& head : heads_) {
      for (const auto& parameter : head->named_parameters()) {
        sizes.push_back({parameter_prefix(*head) + parameter.key(), parameter.value().numel()});
      }
    }
    return sizes;
  }

 private:
  NamedParameters on_device(at::Device device, const OptimizerConfig& config) {
    model_->to(device);
    for (const auto& head : heads_) head->to(device);
    return take_trainable(*model_, objective_, config, heads_);
  }

  std::shared_ptr<Model> model_;
  Heads heads_;
  LossObjective objective_;
  NamedParameters trainable_;
  Optimizer optimizer_;
  GradientReducer reducer_;
  HeadLosses head_losses_;
  TrainingStep step_;
};

RunSettings without_heads(RunSettings settings) {
  settings.heads.Clear();
  auto& groups = *settings.train.mutable_optimizer()->mutable_group();
  groups.erase(std::remove_if(groups.begin(), groups.end(),
                              [](const auto& group) { return group.name().rfind(kHeadsPrefix, 0) == 0; }),
               groups.end());
  return settings;
}

struct Times {
  std::vector<double> wall, cpu;
};

// Each row: what a second does, and what share that is of all ranks' matrix products at once.
void print_rates(const StepFlop& flop, int ranks, double seconds, const std::vector<NamedRate>& products) {
  const auto print = [&](const std::string& what, double rate) {
    fmt::print("{:<36} {}\n", what, rate_and_shares(rate, products));
  };
  for (const NamedRate& rate : products) print("matrix products alone, " + rate.name, rate.flops);
  print("the step", ranks * flop.sum() / seconds);
  print("encoders, each forward once", ranks * (flop.forward + flop.backward) / seconds);
  print("loss", ranks * flop.loss / seconds);
  if (flop.heads > 0) print("heads", ranks * flop.heads / seconds);
}

// What heads add to a step without them.
void print_heads(double flop, const Times& with, const Times& without) {
  const auto more = [](const std::vector<double>& one, const std::vector<double>& other) {
    return 100 * (median(one) / median(other) - 1);
  };
  fmt::print(
      "heads add {:.1f} % FLOP, {:.1f} % time and {:.1f} % processor time to a step without them, {:.4f} s (in turn, "
      "medians)\n",
      100 * flop, more(with.wall, without.wall), more(with.cpu, without.cpu), median(without.wall));
}

void bench_train(const BenchTrainArguments& arguments, Process& process) {
  const RunConfig config = arguments.config.empty() ? parse_run_config(kMini, "mini", arguments.overrides)
                                                    : load_run_config(arguments.config, arguments.overrides);
  const TrainConfig& train = config.train();
  const DataConfig& data = config.data();
  if (needs_tagger(data.text())) const TextTransform opened(data.text(), *make_tokenizer(data.tokenizer()));
  start_computing(process, arguments.threads);
  const int64_t host_memory = available_host_memory() / process.local_size();
  const at::Device device = choose_device(train.device(), process);
  limit_memory(device, arguments.memory_limit);
  const std::unique_ptr<Communicator> communicator = make_communicator(process, config.comm(), device);
  StepJob job;
  job.settings = to_settings(config);
  job.settings.train.set_global_batch(arguments.batch * process.world_size());
  const bool leaves_out = heads_need_references(job.settings.heads) || keeps_references(job.settings.references);
  if (heads_need_references(job.settings.heads)) job.settings.heads.clear_masked_words();
  job.settings.references.Clear();
  job.world = process.world_size();
  job.caption_tokens = caption_tokens(config.model(), arguments);
  job.masked_words = expected_masked_words(job.settings.heads.masked_words(), job.caption_tokens);
  const HeadData drawn = head_data(config.model(), arguments.batch, process.world_size());
  Replica replica(job.settings, drawn, *communicator, device);
  job.head_parameters = replica.head_parameters();
  Batch batch = draw_batch(config.model(), arguments.batch, job.caption_tokens, process.rank());
  if (batch.images.defined()) batch.images = batch.images.to(device);
  if (train.chunk() == kAutoChunk) {
    const int64_t chunk = find_chunk(replica.step(), job, device, host_memory, *communicator);
    replica.step().set_chunk(chunk);
    job.settings.train.set_chunk(chunk);
  }
  reset_peak_memory(device);
  StepJob bare = job;
  bare.settings = without_heads(job.settings);
  bare.head_parameters.clear();
  const auto take_step = [&](Replica& one, Times& times) {
    communicator->barrier("step");
    const Seconds seconds = device_time_of(device, [&] { one.step().run(batch, {0, 0}, 1); });
    times.wall.push_back(seconds.wall);
    times.cpu.push_back(seconds.cpu);
  };
  Times warm_up, with, without;
  for (int i = 0; i < kWarmUp; ++i) take_step(replica, warm_up);
  const std::string memory = describe_device_memory(device);
  std::optional<Replica> other;
  if (!job.head_parameters.empty()) {
    other.emplace(bare.settings, drawn, *communicator, device);
    for (int i = 0; i < kWarmUp; ++i) take_step(*other, warm_up);
  }
  for (int i = 0; i < arguments.steps; ++i) {
    take_step(replica, with);
    if (other) take_step(*other, without);
  }
  communicator->barrier("matrix rate");
  const bool bf16 = train.precision() == TrainConfig::BF16;
  std::vector<NamedRate> products = matrix_rates(device, bf16 ? at::kBFloat16 : at::kFloat);
  for (NamedRate& rate : products) rate.flops = sum_over_ranks(rate.flops, *communicator);
  if (process.rank() != 0) return;
  const double median_wall = median(with.wall);
  fmt::print(
      "{} ranks x {}, batch {} a rank: median of {} steps {:.4f} s ({:.1f} samples/s), least {:.4f} s, "
      "processor time of rank 0 {:.4f} s a step\n",
      process.world_size(), device.is_cpu() ? fmt::format("{} threads", at::get_num_threads()) : "one GPU",
      arguments.batch, arguments.steps, median_wall,
      static_cast<double>(process.world_size()) * static_cast<double>(arguments.batch) / median_wall,
      *std::min_element(with.wall.begin(), with.wall.end()), median(with.cpu));
  const StepFlop flop = step_flop(job, 0);
  print_rates(flop, process.world_size(), median_wall, products);
  if (other) print_heads(flop.sum() / step_flop(bare, 0).sum() - 1, with, without);
  if (leaves_out) fmt::print("without references and the heads that need them\n");
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
      ->check(CLI::Range(0, 1 << 16));
  command->add_option("--threads", arguments->threads, "Threads a rank; 0: cores / ranks")->check(CLI::Range(0, 1024));
  command->add_option("--steps", arguments->steps, "Steps measured")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  add_memory_limit(*command, arguments->memory_limit);
  command->callback([arguments, &process] { bench_train(*arguments, process); });
}

}  // namespace muster
