#include "trainer/schedule.h"

#include <algorithm>
#include <cmath>

namespace muster {
namespace {

constexpr double kPi = 3.14159265358979323846;

double cosine(double done, double final_fraction) {
  return final_fraction + (1 - final_fraction) * 0.5 * (1 + std::cos(kPi * done));
}

}  // namespace

double rate_factor(const ScheduleConfig& config, int64_t step, int64_t total_steps) {
  const int64_t warmup = config.warmup_steps();
  if (step < warmup) return static_cast<double>(step + 1) / static_cast<double>(warmup);
  switch (config.decay()) {
    case ScheduleConfig::CONSTANT:
      return 1;
    case ScheduleConfig::COSINE:
      break;
  }
  if (step >= total_steps) return config.final_fraction();
  return cosine(static_cast<double>(step - warmup) / static_cast<double>(total_steps - warmup),
                config.final_fraction());
}

}  // namespace muster
