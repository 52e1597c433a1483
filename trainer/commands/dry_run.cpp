#include "trainer/commands/dry_run.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "dataloader/sample_list.h"
#include "launch/error.h"
#include "trainer/clean_pairs.h"
#include "trainer/commands/count_format.h"
#include "trainer/commands/matrix_rate.h"
#include "trainer/encoders/model_config.h"
#include "trainer/step_job.h"

namespace muster {
namespace {

constexpr int64_t kMostRanks = 65536;
constexpr double kMib = 1 << 20;

// Beyond these times would be 0 or infinite.
constexpr double kLeastRate = 1e-6, kMostRate = 1e6, kMostLatency = 1e9;

void check_rate(const char* name, double value, const char* what) {
  if (value >= kLeastRate && value <= kMostRate) return;
  throw ConfigError(fmt::format("--{} {:g}: give {}, {:g} to {:g}", name, value, what, kLeastRate, kMostRate));
}

void check(const DryRunArguments& arguments, const RunSettings& settings, int64_t world) {
  if (world < 1 || world > kMostRanks) {
    throw ConfigError(fmt::format("--world {}: give 1 to {} ranks", world, kMostRanks));
  }
  check_rate("network", arguments.network, "the GB/s that a rank sends");
  if (!(arguments.latency >= 0 && arguments.latency <= kMostLatency)) {
    throw ConfigError(
        fmt::format("--latency {:g}: give the microseconds a message, 0 to {:g}", arguments.latency, kMostLatency));
  }
  if (arguments.flops) check_rate("flops", *arguments.flops, "the TFLOP/s of a rank");
  const int64_t context = settings.model.text().context(), tokens = arguments.caption_tokens.value_or(context);
  if (tokens < 2 || tokens > context) {
    throw ConfigError(fmt::format("--caption-tokens {}: give 2 to model.text.context ({})", tokens, context));
  }
  const int64_t batch = settings.train.global_batch();
  if (batch < world) {
    throw ConfigError(
        fmt::format("train.global_batch is {}, fewer than the {} ranks; start at most {} ranks", batch, world, batch));
  }
}

double mib(int64_t bytes) {
  return static_cast<double>(bytes) / kMib;
}

void print_items(const std::vector<MemoryItem>& items, bool on_gpu, const std::string& title, const char* note) {
  fmt::print("\n{:<24} {:>11}\n", title, "MiB");
  for (const MemoryItem& item : items) {
    if (item.on_gpu != on_gpu) continue;
    fmt::print("  {:<22} {:>11.1f}  {:<6} {}\n", item.what, mib(item.bytes), item.exact ? "exact" : "about",
               item.formula);
  }
  fmt::print("  {:<22} {:>11.1f}  {}\n", "sum", mib(sum_of(items, on_gpu)), note);
}

// Once more as it would be on a GPU, if the config may take one.
void print_memory(StepJob job, TrainConfig::Device device) {
  const char* host = "beside the program itself and what MPI keeps; other ranks hold no checkpoint's copy";
  job.gpu = false;
  if (device != TrainConfig::CUDA) print_items(step_memory(job, 0), false, "memory of rank 0", host);
  job.gpu = true;
  if (device != TrainConfig::CPU) {
    const std::vector<MemoryItem> items = step_memory(job, 0);
    const bool both = device == TrainConfig::AUTO;
    print_items(items, true, both ? "with a GPU: there" : "memory of rank 0's GPU", "beside CUDA's own and gaps");
    print_items(items, false, both ? "with a GPU: on the host" : "memory of its host", host);
  }
  if (job.identities == 0) return;
  fmt::print("  the bank and its gradient: {:.1f} MiB replicated, {:.1f} MiB sharded\n",
             mib(reference_bytes(job, 0, false)), mib(reference_bytes(job, 0, true)));
}

void print_traffic(const StepJob& job) {
  const std::vector<StepCall> calls = step_calls(job, 0);
  fmt::print("\n{:<24} {:>7} {:>12} {:>12} {:>9}\n", "traffic of rank 0", "calls", "handed MB", "sent MB", "messages");
  const auto print = [](const std::string& what, int64_t count, const Traffic& traffic, const char* note) {
    fmt::print("  {:<22} {:>7} {:>12.3f} {:>12.3f} {:>9}{}\n", what, count, 1e-6 * static_cast<double>(traffic.handed),
               1e-6 * static_cast<double>(traffic.sent), traffic.messages, note);
  };
  Traffic sum;
  int64_t count = 0;
  for (const StepPart part : {StepPart::kGradients, StepPart::kFeatures, StepPart::kFeatureGradients,
                              StepPart::kColumnStatistics, StepPart::kLossSums, StepPart::kBatchStatistics,
                              StepPart::kReferences, StepPart::kHeads, StepPart::kAgreement}) {
    Traffic traffic;
    int64_t own = 0;
    bool is_bound = false;
    for (const StepCall& call : calls) {
      if (call.part != part) continue;
      traffic += call.traffic;
      is_bound |= call.is_bound;
      ++own;
    }
    if (own > 0) print(describe(part), own, traffic, is_bound ? "  at most" : "");
    sum += traffic;
    count += own;
  }
  print("sum", count, sum, "");
  fmt::print(
      "  handed: given to collectives; sent: what then leaves the rank (an all-reduce: 2 (N - 1) / N of its bytes)\n");
}

void print_flop(const StepJob& job) {
  const StepFlop flop = step_flop(job, 0);
  fmt::print("\n{:<24} {:>11} {:>9}\n", "FLOP of rank 0", "GFLOP", "share");
  const auto print = [&](const char* what, double count) {
    if (count > 0) fmt::print("  {:<22} {:>11.1f} {:>7.2f} %\n", what, 1e-9 * count, 100 * count / flop.sum());
  };
  print("encoders, forward", flop.forward);
  print("forward again", flop.again);
  print("encoders, backward", flop.backward);
  print("loss", flop.loss);
  print("references", flop.references);
  print("heads", flop.heads);
  print("sum", flop.sum());
  const TowerFlop image = image_flop(job.settings.model), text = text_flop(job.settings.model, job.caption_tokens);
  fmt::print(
      "  a pair's forward: {:.2f} GFLOP; {:.2f} as published profiles count, which carry on all tokens in the last "
      "block\n",
      1e-9 * (image.forward + text.forward), 1e-9 * (image.whole_forward + text.whole_forward));
}

// 1, 2, 4 ... and the job's own.
std::vector<int> worlds_up_to(int world) {
  std::vector<int> worlds;
  for (int ranks = 1; ranks < world; ranks *= 2) worlds.push_back(ranks);
  worlds.push_back(world);
  return worlds;
}

void print_time(const StepJob& job, const Machine& machine) {
  fmt::print("\n{:<7} {:>9} {:>11} {:>11} {:>11} {:>11} {:>12} {:>11}\n", "ranks", "rows", "compute s", "network s",
             "exposed s", "step s", "samples/s", "efficiency");
  for (const int ranks : worlds_up_to(job.world)) {
    StepJob other = job;
    other.world = ranks;
    const StepTime time = step_time(other, machine);
    fmt::print("{:<7} {:>9} {:>11.4f} {:>11.4f} {:>11.4f} {:>11.4f} {:>12.1f} {:>9.1f} %\n", ranks, rows_of(other, 0),
               time.compute, time.network, time.exposed, time.step, time.samples_per_second, 100 * time.efficiency);
  }
  fmt::print(
      "exposed: what the last chunk's backward does not hide; efficiency: against one rank with the whole batch\n");
}

void print_chunks(const StepJob& job, const Machine& machine) {
  const int64_t rows = rows_of(job, 0);
  std::set<int64_t, std::greater<>> chunks = {chunk_rows(job, 0)};
  for (int64_t chunk = rows; chunk >= 1 && chunks.size() < 8; chunk /= 2) chunks.insert(chunk);
  fmt::print("\n{:<7} {:>16} {:>11} {:>11} {:>11} {:>12}\n", "chunk", "activations MiB", "sum MiB", "GFLOP", "step s",
             "samples/s");
  for (const int64_t chunk : chunks) {
    StepJob other = job;
    other.settings.train.set_chunk(chunk);
    const std::vector<MemoryItem> items = step_memory(other, 0);
    const auto is_activations = [](const MemoryItem& item) { return item.what == "activations"; };
    const StepTime time = step_time(other, machine);
    fmt::print("{:<7} {:>16.1f} {:>11.1f} {:>11.1f} {:>11.4f} {:>12.1f}{}\n", chunk,
               mib(std::find_if(items.begin(), items.end(), is_activations)->bytes),
               mib(sum_of(items, true) + sum_of(items, false)), 1e-9 * step_flop(other, 0).sum(), time.step,
               time.samples_per_second, chunk == chunk_rows(job, 0) ? "  this job" : "");
  }
}

}  // namespace

void add_dry_run_options(CLI::App& command, DryRunArguments& arguments) {
  CLI::Option* asked =
      command.add_flag("--dry-run", arguments.asked,
                       "Print memory, traffic, FLOP and time of a step and stop; trains and writes nothing");
  command.add_option("--world", arguments.world, "Ranks of the dry run; default: those it is started with")
      ->needs(asked);
  command.add_option("--network", arguments.network, "GB/s that a rank sends, of the dry run")
      ->needs(asked)
      ->capture_default_str();
  command.add_option("--latency", arguments.latency, "Microseconds a message, of the dry run")
      ->needs(asked)
      ->capture_default_str();
  command.add_option("--flops", arguments.flops, "TFLOP/s of a rank, of the dry run; default: measured here")
      ->needs(asked);
  command
      .add_option("--caption-tokens", arguments.caption_tokens,
                  "Tokens of the longest caption, of the dry run; default: model.text.context")
      ->needs(asked);
}

void dry_run(const RunSettings& settings, const TrainingStores& stores, int ranks, const DryRunArguments& arguments) {
  const int64_t world = arguments.world.value_or(ranks);
  check(arguments, settings, world);
  const StepJob job = make_step_job(settings, stores, static_cast<int>(world),
                                    arguments.caption_tokens.value_or(settings.model.text().context()));
  const TrainConfig& train = settings.train;
  const int64_t epoch =
      make_sampler(SampleList(stores, settings.data), settings.data.sampler(), train.global_batch(), train.seed())
          ->steps_per_epoch();
  int64_t parameters = 0;
  for (const ParameterSize& parameter : trainable_sizes(job)) parameters += parameter.count;
  const bool measured = !arguments.flops;
  const Machine machine{measured ? matrix_rate() : 1e12 * *arguments.flops, 1e9 * arguments.network,
                        1e-6 * arguments.latency};
  fmt::print(
      "dry run of {} ranks: {} pairs a step, {} on rank 0 in chunks of {}, captions of {} tokens, {} trainable "
      "parameters\n",
      job.world, with_commas(train.global_batch()), rows_of(job, 0), chunk_rows(job, 0), job.caption_tokens,
      with_commas(parameters));
  print_memory(job, train.device());
  print_traffic(job);
  print_flop(job);
  fmt::print("\nmodel of the time at {:.3g} TFLOP/s a rank ({}), {:g} GB/s and {:g} us a message:\n",
             1e-12 * machine.flops,
             measured ? fmt::format("matrix products here, {} threads", at::get_num_threads()) : "given",
             arguments.network, arguments.latency);
  print_time(job, machine);
  if (!selects_tokens(settings.model)) print_chunks(job, machine);
  const double steps =
      train.has_steps() ? static_cast<double>(train.steps()) : std::ceil(train.epochs() * static_cast<double>(epoch));
  double hours = steps * step_time(job, machine).step / 3600;
  if (divides_pairs(train)) {
    const double pass = static_cast<double>(epoch) * step_flop(job, 0).forward / machine.flops / 3600;
    const double epochs = std::ceil(steps / static_cast<double>(epoch));
    fmt::print("\nclean pairs: a forward of each epoch's pairs at its start, {:.2f} hours of all epochs\n",
               epochs * pass);
    hours += epochs * pass;
  }
  fmt::print("\n{} steps of {} an epoch: {:.2f} hours, without evaluation\n", with_commas(static_cast<int64_t>(steps)),
             with_commas(epoch), hours);
}

}  // namespace muster
