// A window of training steps recorded on every rank: RUN/trace.rank0.json, RUN/trace.rank1.json, ...
#pragma once

#include <cstdint>
#include <string>

#include "comm/communicator.h"
#include "launch/trace.h"

namespace muster {

// Steps are counted from 1, as in the progress lines; both ends belong to the window.
struct StepWindow {
  int64_t first = 0;
  int64_t last = 0;
};

// "20:24"; "20" is that one step. ConfigError: anything else, a step below 1, the last before the first.
StepWindow parse_step_window(const std::string& text);

// What Trainer is asked to record; no recorder: nothing.
struct TraceRequest {
  TraceRecorder* recorder = nullptr;
  StepWindow window;
};

// Starts and stops the recorder at the window's edges and writes the files.
class StepTrace {
 public:
  // ConfigError: the steps of this run that are still to do, after `done`, hold none of the window.
  StepTrace(const TraceRequest& request, std::string run_dir, Communicator& communicator, int64_t done, int64_t total);

  // Collective at the window's first step: the ranks agree on a moment that is time 0 in all files.
  void before_step(int64_t step);

  // True between before_step() of the first step of the window and write().
  bool is_open() const { return open_; }
  bool ends_with(int64_t step) const { return open_ && step == request_.window.last; }

  // Writes this rank's file. DataError: it cannot be written.
  void write();

 private:
  TraceRequest request_;
  std::string run_dir_;
  Communicator& communicator_;
  bool open_ = false;
  TraceClock::time_point origin_;
};

}  // namespace muster
