#include "launch/signals.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <csignal>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <system_error>
#include <utility>

namespace muster {
namespace {

std::atomic<bool> stop_flag{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free flags");

extern "C" void request_stop(int) {
  stop_flag = true;
}

// Milliseconds of the monotonic clock at the first SIGUSR1; 0: none yet.
std::atomic<int64_t> first_usr1_ms{0};
static_assert(std::atomic<int64_t>::is_always_lock_free);
constexpr int64_t kSameRequestMs = 1000;

extern "C" void request_stop_or_end(int signal) {
  const int before = errno;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t now_ms = int64_t{1000} * now.tv_sec + now.tv_nsec / 1000000;
  int64_t first_ms = 0;
  if (!first_usr1_ms.compare_exchange_strong(first_ms, now_ms) && now_ms - first_ms >= kSameRequestMs) {
    std::signal(signal, SIG_DFL);
    raise(signal);  // taken when this handler returns
  }
  stop_flag = true;
  errno = before;
}

constexpr uint64_t kEnd = uint64_t{1} << 32;
std::atomic<int> wake_descriptor{-1};
static_assert(std::atomic<int>::is_always_lock_free);

void wake(int descriptor, uint64_t value) {
  const int before = errno;
  if (write(descriptor, &value, sizeof value) < 0) {  // full: whoever reads is awake anyway
  }
  errno = before;
}

extern "C" void wake_watcher(int) {
  wake(wake_descriptor, 1);
}

void handle(int signal, void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

}  // namespace

SignalsBlocked::SignalsBlocked() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before_);
}

SignalsBlocked::~SignalsBlocked() {
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void install_signal_handlers(bool world_of_one) {
  handle(SIGUSR1, request_stop_or_end, SA_RESTART);
  // SA_RESETHAND: the second SIGINT meets the default action.
  if (world_of_one) handle(SIGINT, request_stop, static_cast<int>(SA_RESTART | SA_RESETHAND));
}

bool stop_requested() {
  return stop_flag;
}

void clear_stop_request() {
  first_usr1_ms = 0;
  stop_flag = false;
}

StopOnSignal::StopOnSignal(std::function<void()> stop) : wake_(eventfd(0, EFD_CLOEXEC)) {
  if (wake_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  watcher_ = std::thread([this, call = std::move(stop)] {
    uint64_t value = 0;
    while (read(wake_, &value, sizeof value) < 0) {
      if (errno != EINTR) return;
    }
    if (value < kEnd) call();
  });
  wake_descriptor = wake_;
  for (const int signal : {SIGINT, SIGTERM}) handle(signal, wake_watcher, static_cast<int>(SA_RESTART | SA_RESETHAND));
}

StopOnSignal::~StopOnSignal() {
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, SIG_DFL);
  wake(wake_, kEnd);
  watcher_.join();
  wake_descriptor = -1;
  close(wake_);
}

}  // namespace muster
