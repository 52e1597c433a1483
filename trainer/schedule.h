// The learning rate over a run, as a factor of the optimizer's rate.
#pragma once

#include <cstdint>

#include "trainer/trainer.pb.h"

namespace muster {

// A pure function of the step, so that a resumed run needs nothing saved. With t the steps done, w those of the warm-up
// and T the run's:
//   warm-up, t < w  start + (1 - start) t / w; without warmup_start (t + 1) / w, as open_clip
//   COSINE          final_fraction + (1 - final_fraction) 0.5 (1 + cos(pi (t - w) / (T - w))): open_clip's cosine_lr
//   CONSTANT        1
//   STEP            gamma ^ (milestones <= t): torch's MultiStepLR; with warm-up, IRRA's LRSchedulerWithWarmup
// per_epoch takes the epoch's first step for t.
class Schedule {
 public:
  // ConfigError: a warm-up or milestones in epochs that lie outside the run.
  Schedule(const ScheduleConfig& config, int64_t steps_per_epoch, int64_t total_steps);

  // The factor of step `step` (0-based). Steps past the end keep the final value.
  double factor(int64_t step) const;

 private:
  double decayed(double step) const;

  ScheduleConfig config_;  // milestones in steps
  double warmup_;          // steps
  double steps_per_epoch_;
  double total_;
};

}  // namespace muster
