#include "trainer/commands/stopwatch.h"

#include <time.h>

#include <algorithm>
#include <cstddef>

namespace muster {
namespace {

double clock_seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

Seconds time_of(const std::function<void()>& work) {
  const Seconds start{clock_seconds(CLOCK_MONOTONIC), clock_seconds(CLOCK_PROCESS_CPUTIME_ID)};
  work();
  return {clock_seconds(CLOCK_MONOTONIC) - start.wall, clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - start.cpu};
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

}  // namespace muster
