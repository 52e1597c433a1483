#include "launch/signals.h"

#include <csignal>

#include <atomic>

namespace muster {
namespace {

std::atomic<bool> stop_flag{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free flags");

extern "C" void request_stop(int) {
  stop_flag = true;
}

void handle(int signal, int flags) {
  struct sigaction action {};
  action.sa_handler = request_stop;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

}  // namespace

void install_signal_handlers(bool world_of_one) {
  handle(SIGUSR1, SA_RESTART);
  // SA_RESETHAND: the second SIGINT meets the default action.
  if (world_of_one) handle(SIGINT, static_cast<int>(SA_RESTART | SA_RESETHAND));
}

bool stop_requested() {
  return stop_flag;
}

void clear_stop_request() {
  stop_flag = false;
}

}  // namespace muster
