// Ends a rank that waits in vain. A stopped peer is noticed by nobody else: MPI waits for it for ever.
//
// The communicator tells it which collective is the oldest unfinished one; the training loop, through the communicator,
// which phase and step it is in. Its thread publishes this on the host's status board and shows a sign of life every
// second, outside the collectives. When a deadline has passed by five ticks (before that, Communicator's own wait()
// has had its chance to throw), it writes one line to standard error - rank, host, step, operation, bytes, age, and the
// rank that lags - and leaves with _exit(76), waiting for no lock.
//
// Time in which this process itself was stopped (a suspended job) does not count.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "comm/status_board.h"

namespace muster {

struct WatchdogOptions {
  int rank = 0;
  int world_size = 1;
  double first_timeout_s = 600;  // of a call until the first step is done; of a whole step, always
  double timeout_s = 15;         // afterwards a call has max(timeout_s, 5 x the median step)
  double tick_s = 1;             // between signs of life; after four without one a rank counts as stopped
  bool ends_phases = true;       // false: another watchdog of this process ends a phase that takes too long
};

class Watchdog {
 public:
  Watchdog(const WatchdogOptions& options, std::unique_ptr<StatusBoard> board);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // This rank has called collective number `sequence`. Cheap: once per call.
  void entered(int64_t sequence, const std::string& operation);

  // The oldest unfinished collective, or that there is none. Cheap.
  void waiting_for(int64_t sequence, const std::string& operation, int64_t bytes, double timeout_s);
  void waiting_for_nothing();

  // See Communicator::set_phase() and step_done().
  void set_phase(const std::string& phase, double deadline_s);
  void step_done(int64_t step);

  // Deadline of a call that starts now, as phase and steps have it; set_timeout() replaces it until they change.
  double call_timeout() const;
  void set_timeout(double seconds);

  // Where the ranks of this host are, as far as they explain why call `sequence` is not finished. One clause.
  std::string who_lags(int64_t sequence) const;

  // "rank 0 (node7, step 12, training)".
  std::string whereabouts() const;

  // What is said of a call that takes too long: whereabouts, call, bytes, age, and who lags. One line.
  std::string unfinished(int64_t sequence, const std::string& operation, int64_t bytes, double age_s) const;

  // Writes the line to standard error and leaves with _exit(76), waiting for no lock. From any thread.
  [[noreturn]] void end(const std::string& line) const;

 private:
  void run();
  void check_deadlines(double running_s);
  void write_status();

  const WatchdogOptions options_;
  const std::unique_ptr<StatusBoard> board_;
  const size_t slot_;

  // Writers of this rank's status: the training thread, and whoever polls. The thread below never takes it.
  mutable std::mutex writers_;
  RankStatus status_;
  double step_timeout_s_;
  double timeout_now_s_;
  double step_began_s_ = 0;
  std::deque<double> step_seconds_;

  // The thread's own.
  int64_t watched_call_ = 0;
  double call_age_s_ = 0;
  int64_t watched_progress_ = 0;
  double progress_age_s_ = 0;

  std::mutex stop_mutex_;
  std::condition_variable stop_changed_;
  bool stop_ = false;
  std::thread thread_;
};

// This machine's name.
std::string host_name();

}  // namespace muster
