// How far a long command has come.
#pragma once

#include <chrono>
#include <cstdint>

namespace muster {

// One line that is redrawn on a terminal, a line each tenth otherwise.
class ProgressLine {
 public:
  ProgressLine();
  // Leaves the terminal's line clean for what comes next.
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // The share of the work that is done, shown by the next show().
  void set_fraction(double fraction) { fraction_ = fraction; }
  void show(int64_t images);

 private:
  using Clock = std::chrono::steady_clock;
  void draw() const;

  const bool terminal_;
  const Clock::time_point begun_ = Clock::now();
  Clock::time_point shown_;
  double fraction_ = 0;
  int tenth_ = 0;
  int64_t images_ = 0;
};

}  // namespace muster
