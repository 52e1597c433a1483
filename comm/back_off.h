// How a thread waits for something that must be asked again and again.
#pragma once

#include <chrono>

namespace muster {

class BackOff {
 public:
  // First gives the core to whoever wants it, then sleeps: short waits stay short, long ones leave the core alone.
  void pause();

  // Seconds waited so far, without time in which this process itself was stopped.
  double waited_s() const { return waited_s_; }

 private:
  double waited_s_ = 0;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace muster
