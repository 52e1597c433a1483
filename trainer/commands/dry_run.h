// `muster train --dry-run`: what a job would take, printed before a machine is asked for.
#pragma once

#include <cstdint>
#include <optional>

#include "dataloader/training_stores.h"
#include "trainer/run_settings.h"

namespace CLI {
class App;
}

namespace muster {

struct DryRunArguments {
  bool asked = false;
  std::optional<int64_t> world;           // none: as many as this program was started with
  double network = 1.25;                  // GB/s
  double latency = 20;                    // microseconds
  std::optional<double> flops;            // TFLOP/s; none: measured
  std::optional<int64_t> caption_tokens;  // none: model.text.context
};

// --dry-run and what belongs to it.
void add_dry_run_options(CLI::App& command, DryRunArguments& arguments);

// Prints memory, traffic, FLOP and time of a step (trainer/step_cost.h) for `ranks` ranks, unless --world says another
// number. Writes nothing. ConfigError: an argument that is impossible; what training would refuse of sampler, world
// size and optimizer groups.
void dry_run(const RunSettings& settings, const TrainingStores& stores, int ranks, const DryRunArguments& arguments);

}  // namespace muster
