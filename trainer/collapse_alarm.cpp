#include "trainer/collapse_alarm.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace muster {

CollapseAlarm::CollapseAlarm(std::vector<double> collapsed, std::vector<std::string> names)
    : collapsed_(std::move(collapsed)), names_(std::move(names)), stuck_(collapsed_.size(), 0) {}

std::string CollapseAlarm::observe(int64_t step, const std::vector<double>& terms) {
  std::string told;
  for (size_t i = 0; i < collapsed_.size(); ++i) {
    const bool near = collapsed_[i] > 0 && std::fabs(terms.at(i) - collapsed_[i]) <= kNear * collapsed_[i];
    stuck_[i] = near ? stuck_[i] + 1 : 0;
    if (stuck_[i] != kSteps) continue;
    told += fmt::format(
        "{}step {}: {} has been at {:.4g} for {} steps, which is what it has where all scores are equal: hardest "
        "negatives teach nothing there, and few such runs recover. Begin with a triplet term of negatives SOFT or ALL, "
        "which this one follows (end_step and begin_step), warm up longer (train.schedule.warmup_steps), or lower "
        "train.optimizer.rate",
        told.empty() ? "" : "\n", step, names_[i], collapsed_[i], kSteps);
  }
  return told;
}

}  // namespace muster
