// What the watchdog takes of a processor, with a board in memory that processes share: prints
//   {"call_ns": of all that it is told about one collective, "tick_ns": of its own thread, each second}
// for tests/fault/watch_overhead.py.
#include <fmt/format.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "comm/watchdog.h"

namespace {

double seconds_of(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::unique_ptr<muster::StatusBoard> shared_board(int ranks) {
  std::vector<int> all(static_cast<size_t>(ranks));
  std::iota(all.begin(), all.end(), 0);
  const int fd = memfd_create("board", 0);
  if (ftruncate(fd, static_cast<off_t>(muster::StatusBoard::size_for(all.size()))) != 0) return nullptr;
  auto board = std::make_unique<muster::StatusBoard>(all, fd);
  close(fd);
  return board;
}

double nanoseconds_per_call() {
  constexpr int kCalls = 1000000;
  muster::Watchdog watchdog({}, shared_board(8));
  const double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
  for (int i = 1; i <= kCalls; ++i) {
    watchdog.entered(i, "all_reduce 'gradients 3' sum float32 [1048576]");
    watchdog.waiting_for(i, "all_reduce 'gradients 3' sum float32 [1048576]", 4194304, watchdog.call_timeout());
    watchdog.waiting_for_nothing();
  }
  return 1e9 * (seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin) / kCalls;
}

double nanoseconds_per_tick() {
  constexpr int kTicks = 1000;
  muster::WatchdogOptions options;
  options.tick_s = 0.002;
  muster::Watchdog watchdog(options, shared_board(8));
  const double begin = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - seconds_of(CLOCK_THREAD_CPUTIME_ID);
  std::this_thread::sleep_for(std::chrono::duration<double>(kTicks * options.tick_s));
  const double spent = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin;
  return 1e9 * spent / kTicks;
}

}  // namespace

int main() {
  fmt::print("{{\"call_ns\": {:.0f}, \"tick_ns\": {:.0f}}}\n", nanoseconds_per_call(), nanoseconds_per_tick());
}
