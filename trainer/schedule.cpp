#include "trainer/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "launch/error.h"

namespace muster {
namespace {

constexpr double kPi = 3.14159265358979323846;

double cosine(double done, double final_fraction) {
  return final_fraction + (1 - final_fraction) * 0.5 * (1 + std::cos(kPi * done));
}

int64_t to_steps(double epochs, int64_t steps_per_epoch) {
  return std::llround(epochs * static_cast<double>(steps_per_epoch));
}

}  // namespace

Schedule::Schedule(const ScheduleConfig& config, int64_t steps_per_epoch, int64_t total_steps)
    : config_(config),
      warmup_(static_cast<double>(config.has_warmup_epochs() ? to_steps(config.warmup_epochs(), steps_per_epoch)
                                                             : config.warmup_steps())),
      steps_per_epoch_(static_cast<double>(steps_per_epoch)),
      total_(static_cast<double>(total_steps)) {
  for (const double epoch : config.milestone_epoch()) config_.add_milestone(to_steps(epoch, steps_per_epoch));
  if (warmup_ > total_) {
    throw ConfigError(fmt::format(
        "train.schedule's warm-up takes {:.0f} steps and the run {}: the full rate would never be reached; shorten it",
        warmup_, total_steps));
  }
  for (const int64_t milestone : config_.milestone()) {
    if (milestone < total_steps) continue;
    throw ConfigError(fmt::format("a milestone of train.schedule comes after {} steps, the run has {}: leave it out",
                                  milestone, total_steps));
  }
}

double Schedule::factor(int64_t step) const {
  auto done = static_cast<double>(step);
  if (config_.per_epoch()) done = std::floor(done / steps_per_epoch_) * steps_per_epoch_;
  if (done >= warmup_) return decayed(done);
  if (!config_.has_warmup_start()) return (done + 1) / warmup_;
  return config_.warmup_start() + (1 - config_.warmup_start()) * done / warmup_;
}

double Schedule::decayed(double step) const {
  switch (config_.decay()) {
    case ScheduleConfig::CONSTANT:
      return 1;
    case ScheduleConfig::STEP: {
      const auto passed = std::count_if(config_.milestone().begin(), config_.milestone().end(),
                                        [&](int64_t milestone) { return static_cast<double>(milestone) <= step; });
      return std::pow(config_.gamma(), static_cast<double>(passed));
    }
    case ScheduleConfig::COSINE:
      break;
  }
  if (step >= total_) return config_.final_fraction();
  return cosine((step - warmup_) / (total_ - warmup_), config_.final_fraction());
}

}  // namespace muster
