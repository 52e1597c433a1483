// The learning rate over a run, as a factor of the optimizer's rate.
#pragma once

#include <cstdint>

#include "trainer/trainer.pb.h"

namespace muster {

// The factor of step `step` (0-based) of `total_steps`: linear warm-up (step + 1) / warmup_steps, then open_clip's
// cosine_lr, 0.5 (1 + cos(pi e / es)) with e = step - warmup_steps and es = total_steps - warmup_steps, from 1 to
// final_fraction, or constant 1. A pure function, so that a resumed run needs nothing saved. Steps past the end keep
// the final value.
double rate_factor(const ScheduleConfig& config, int64_t step, int64_t total_steps);

}  // namespace muster
