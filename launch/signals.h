// A signal sets one flag; the training loop looks at it between steps.
#pragma once

#include <signal.h>

#include <functional>
#include <thread>

namespace muster {

// SIGUSR1 asks for "checkpoint and stop" at the next step boundary (mpirun forwards it to every rank); one that comes a
// second or more after the first ends the process at once (nearer ones are the same request, which may reach a rank
// both from mpirun and directly). The first SIGINT in a world of one asks for the same; a second one ends the process
// at once. SIGTERM keeps its default action: mpirun sends it to the survivors of a dead rank, and to all ranks at
// Ctrl-C, and saving from a broken world would be wrong.
void install_signal_handlers(bool world_of_one);

bool stop_requested();

// For tests.
void clear_stop_request();

// While it lives, this thread takes no signals, nor do threads made by it meanwhile: signals ask the training thread
// for something, and no other may take them.
class SignalsBlocked {
 public:
  SignalsBlocked();
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// For a program that serves until it is told to end: while one of these lives, the first SIGINT or SIGTERM calls
// `stop`, once, on a thread of its own; a second one of the same kind ends the process at once. One at a time in a
// process.
class StopOnSignal {
 public:
  // std::system_error: no descriptor or thread is left.
  explicit StopOnSignal(std::function<void()> stop);
  // Waits for `stop` where it runs; signals have their default action again.
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

 private:
  int wake_ = -1;  // an eventfd: 1 is added by a signal, kEnd by the destructor
  std::thread watcher_;
};

}  // namespace muster
