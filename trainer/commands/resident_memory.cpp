#include "trainer/commands/resident_memory.h"

#include <fmt/format.h>

#include <fstream>
#include <string>

#include "launch/error.h"

namespace muster {
namespace {

// A line of /proc/self/status, in MiB.
double memory_mib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    double kib = 0;
    if (word == field + ":" && status >> kib) return kib / 1024;
  }
  throw DataError(fmt::format("/proc/self/status has no {}: memory cannot be measured here", field));
}

}  // namespace

double peak_growth_mib(const std::function<void()>& work) {
  std::ofstream("/proc/self/clear_refs") << "5";
  const double before = memory_mib("VmRSS");
  work();
  return memory_mib("VmHWM") - before;
}

}  // namespace muster
