#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "comm/make_communicator.h"
#include "configs/load.h"
#include "dataloader/split_captions.h"
#include "launch/error.h"
#include "launch/log.h"
#include "launch/process.h"
#include "launch/signals.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/dry_run.h"
#include "trainer/commands/initial_weights.h"
#include "trainer/commands/open_stores.h"
#include "trainer/commands/run_config.h"
#include "trainer/commands/run_setup.h"
#include "trainer/commands/same_start.h"
#include "trainer/device.h"
#include "trainer/host_memory.h"
#include "trainer/run_folder.h"
#include "trainer/trainer.h"

namespace muster {
namespace {

struct TrainArguments {
  std::string config;
  std::vector<std::string> stores;
  std::string run_dir;
  std::vector<std::string> overrides;
  std::string trace;
  bool print_config = false;
  DryRunArguments dry_run;
  int64_t stop_after = std::numeric_limits<int64_t>::max();
};

// The command that evaluates the run, on test if the store has one.
std::string what_next(const TrainArguments& arguments, const Store& store) {
  for (const Split split : {Split::kTest, Split::kVal, Split::kTrain}) {
    if (captions_of(store, split) == 0) continue;
    return fmt::format("evaluate with: {} eval --run {} --data {} --split {}", program_invocation_name,
                       arguments.run_dir, store.path(), split_name(split));
  }
  return "its first store has no captions to evaluate on";
}

// Those that decide when ranks meet.
std::string other_arguments(const TrainArguments& arguments) {
  std::string text;
  if (arguments.stop_after < std::numeric_limits<int64_t>::max()) {
    text += fmt::format(" --stop-after {}", arguments.stop_after);
  }
  if (!arguments.trace.empty()) text += fmt::format(" --trace {}", arguments.trace);
  return text.empty() ? "none" : text.substr(1);
}

void train(const TrainArguments& arguments, Process& process) {
  const RunConfig config = load_run_config(arguments.config, arguments.overrides);
  const std::string text = print_run_config(config);
  if (arguments.print_config) {
    if (process.rank() == 0) fmt::print("{}", text);
    return;
  }
  if (arguments.run_dir.empty() && !arguments.dry_run.asked) {
    throw ConfigError("--run is required, the folder to train in; see muster train --help");
  }
  TraceRecorder recorder;
  TraceRequest trace;
  if (!arguments.trace.empty()) trace = {&recorder, parse_step_window(arguments.trace)};
  start_computing(process, config.train().threads());
  install_signal_handlers(process.world_size() == 1);
  if (!arguments.run_dir.empty() && holds_run(arguments.run_dir)) {
    check_continues(arguments.run_dir, print_run_config(load_config_of(arguments.run_dir)), text);
  }
  const OpenStores open(arguments.stores);
  if (arguments.dry_run.asked) {
    if (process.rank() == 0) dry_run(to_settings(config), open.stores(), process.world_size(), arguments.dry_run);
    return;
  }
  const int64_t host_memory = available_host_memory() / process.local_size();
  const at::Device device = choose_device(config.train().device(), process);
  const std::unique_ptr<Communicator> communicator = make_communicator(process, config.comm(), device);
  check_same_start({text, open.stores().fingerprint(), arguments.run_dir, other_arguments(arguments)}, *communicator);
  communicator->record_to(trace.recorder);
  std::function<void(const NamedTensors&)> initial_weights;
  const InitConfig& init = config.train().init();
  if (init.has_run() || init.has_weights()) {
    initial_weights = [&](const NamedTensors& into) { take_initial_weights(config, into); };
  }
  Trainer trainer(to_settings(config), text, open.stores(), arguments.run_dir, *communicator, initial_weights, trace,
                  device, host_memory);
  if (!trainer.run(arguments.stop_after)) {
    throw Error(ExitCode::kStoppedAfterSave,
                fmt::format("stopped at step {} of {} as asked, after saving; the same command continues",
                            trainer.step(), trainer.total_steps()));
  }
  const int64_t skipped = trainer.skipped_steps();
  log_info(fmt::format("finished step {} of {}{}; {}", trainer.step(), trainer.total_steps(),
                       skipped > 0 ? fmt::format(", {} skipped as not finite", skipped) : "",
                       what_next(arguments, open.stores().first())));
}

}  // namespace

void add_train_command(CLI::App& app, Process& process) {
  CLI::App* command =
      app.add_subcommand("train", "Train a model; continues by itself from the run folder's newest checkpoint");
  const auto arguments = std::make_shared<TrainArguments>();
  command->add_option("--config", arguments->config, "Run config (protobuf text format), see configs/")->required();
  command
      ->add_option(
          "--data", arguments->stores,
          "Store made by muster import or synth; several --data: trained on together, the first one evaluated; "
          "PATH:3: its samples stand 3 times in an epoch")
      ->required()
      ->allow_extra_args(false);
  command->add_option("--run", arguments->run_dir, "Run folder: checkpoints, metrics, report; a dry run needs none");
  command->add_option("--set", arguments->overrides, "Override a field: --set train.global_batch=512")->take_all();
  command
      ->add_option("--stop-after", arguments->stop_after, "Save and stop once this many steps are done (exit code 75)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command->add_option("--trace", arguments->trace,
                      "FIRST:LAST: record these steps as RUN/trace.rank*.json, for chrome://tracing and Perfetto");
  command->add_flag("--print-config", arguments->print_config, "Print the resolved config and stop");
  add_dry_run_options(*command, arguments->dry_run);
  for (const char* other : {"--trace", "--stop-after", "--print-config"}) {
    command->get_option("--dry-run")->excludes(command->get_option(other));
  }
  command->callback([arguments, &process] { train(*arguments, process); });
}

}  // namespace muster
