#include "comm/back_off.h"

#include <sched.h>

#include <algorithm>
#include <thread>

namespace muster {
namespace {

// A longer gap between two pauses means that this process was stopped: that time does not count.
constexpr double kLongestGap = 1.0;
constexpr double kYieldFor = 200e-6;

}  // namespace

void BackOff::pause() {
  if (waited_s_ < kYieldFor) {
    sched_yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(waited_s_ < 0.1 ? 20 : 200));
  }
  const auto now = std::chrono::steady_clock::now();
  waited_s_ += std::min(std::chrono::duration<double>(now - last_).count(), kLongestGap);
  last_ = now;
}

}  // namespace muster
