#include "trainer/report/chart_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace muster {
namespace {

double round_step(double range, int count) {
  const double rough = range / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power) return factor * power;
  }
  return 10 * power;
}

std::string tick_label(double value, double step) {
  if (std::abs(value) < step * 1e-6) return "0";
  const double magnitude = std::abs(value);
  if (magnitude < 1e-2 || magnitude >= 1e6) return fmt::format("{:g}", std::round(value / step) * step);
  if (step >= 1000) return fmt::format("{:g}k", value / 1000);
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return fmt::format("{:.{}f}", value, decimals);
}

}  // namespace

Axis make_axis(double low, double high, int count, bool rounded) {
  if (!(high > low)) {
    const double margin = std::max(std::abs(low) * 0.05, 1e-9);
    low -= rounded ? margin : 0;
    high += margin;
  }
  const double step = round_step(high - low, count);
  const double first = rounded ? std::floor(low / step + 1e-9) : std::ceil(low / step - 1e-9);
  const double last = rounded ? std::ceil(high / step - 1e-9) : std::floor(high / step + 1e-9);
  Axis axis{rounded ? first * step : low, rounded ? last * step : high, {}, {}};
  for (double i = first; i <= last; ++i) {
    axis.ticks.push_back(i * step);
    axis.labels.push_back(tick_label(i * step, step));
  }
  return axis;
}

std::string format_value(double value) {
  if (!std::isfinite(value)) return "not finite";
  const double magnitude = std::abs(value);
  if (magnitude >= 1000 && magnitude < 1e7) return fmt::format("{:.0f}", value);
  return fmt::format("{:.4g}", value);
}

}  // namespace muster
