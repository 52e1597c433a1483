// Runs a fuzz target where there is no libFuzzer:
//
//   NAME_fuzz [--seed N] [--runs N] [--seconds S]   inputs from the target's seeds; ends after N runs or S seconds
//   NAME_fuzz FILE...                               these inputs
//
// A finding (a signal, a sanitizer's report, an exception that the target lets out, 20 seconds of processor time for
// one input) is written to NAME_fuzz.seed-S.run-R.input in the current folder, with a line that says how to repeat it.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/fuzz/mutator.h"
#include "tests/fuzz/target.h"

// Both sanitizers, each with a runtime of its own, end in SIGABRT, behind their reports.
extern "C" const char* __asan_default_options() {
  return "abort_on_error=1";
}
extern "C" const char* __ubsan_default_options() {
  return "abort_on_error=1:print_stacktrace=1";
}

namespace {

constexpr int kProcessorSeconds = 20;  // for one input

// For the handler of signals, which is handed nothing.
std::string input;      // NOLINT
std::string save_as;    // NOLINT empty: the input is a file already
std::string repeat_by;  // NOLINT

// These two may run in a signal's handler: they take no memory.
void say(const char* text) {
  if (write(STDERR_FILENO, text, std::strlen(text)) < 0) _exit(1);
}

void report_finding() {
  if (!save_as.empty()) {
    const int file = open(save_as.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const bool saved = file >= 0 && write(file, input.data(), input.size()) == static_cast<ssize_t>(input.size());
    say(saved ? "finding; its input is saved. Repeat it with\n  " : "finding; its input CANNOT BE SAVED here\n  ");
  } else {
    say("finding, again with\n  ");
  }
  say(repeat_by.c_str());
}

void on_signal(int signal) {
  say(signal == SIGVTALRM ? "it takes too long\n" : "the program is ended by a signal\n");
  report_finding();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
  _exit(1);
}

void watch_for_ends() {
  for (const int signal : {SIGABRT, SIGVTALRM}) std::signal(signal, on_signal);
#ifndef __SANITIZE_ADDRESS__  // which has handlers of its own for the others, and takes memory as it likes
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, on_signal);
  const rlimit limit = {rlim_t{3} << 30U, rlim_t{3} << 30U};  // of memory: no input is worth more
  setrlimit(RLIMIT_DATA, &limit);
#endif
}

// Leaks are reported when the program has ended, of all inputs together.
void stop_watching() {
  std::signal(SIGABRT, SIG_DFL);
}

// False after an exception, which is reported.
bool run_input() {
  const itimerval limit = {{0, 0}, {kProcessorSeconds, 0}};
  setitimer(ITIMER_VIRTUAL, &limit, nullptr);
  try {
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    return true;
  } catch (const std::exception& error) {
    say(("exception: " + std::string(error.what()) + "\n").c_str());
  }
  report_finding();
  return false;
}

int run_files(const std::string& program, char** first, char** last) {
  for (char** path = first; path != last; ++path) {
    std::ifstream file(*path, std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot open %s\n", *path);
      return 2;
    }
    input.assign(std::istreambuf_iterator<char>(file), {});
    repeat_by = program + " " + *path + "\n";
    if (!run_input()) return 1;
  }
  std::printf("no finding in the files given\n");
  stop_watching();
  return 0;
}

unsigned long long count(uint64_t number) {
  return number;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string program = argv[0], name = program.substr(program.rfind('/') + 1);
  uint64_t seed = 1, runs = 0;
  double seconds = 0;
  int next = 1;
  for (; next + 1 < argc && std::strncmp(argv[next], "--", 2) == 0; next += 2) {
    const std::string option = argv[next];
    if (option == "--seed") seed = std::strtoull(argv[next + 1], nullptr, 10);
    if (option == "--runs") runs = std::strtoull(argv[next + 1], nullptr, 10);
    if (option == "--seconds") seconds = std::strtod(argv[next + 1], nullptr);
  }
  watch_for_ends();
  if (next < argc) return run_files(program, argv + next, argv + argc);
  if (runs == 0 && seconds == 0) runs = 10000;
  const size_t seeds = muster::fuzz::seeds().size();
  muster::fuzz::Mutator mutator(muster::fuzz::seeds(), muster::fuzz::words());
  const auto begun = std::chrono::steady_clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(); };
  uint64_t run = 0;
  for (; (runs == 0 || run < runs) && (seconds == 0 || passed() < seconds); ++run) {
    input = mutator.make(seed, run);
    save_as = name + ".seed-" + std::to_string(seed) + ".run-" + std::to_string(run) + ".input";
    repeat_by = program + " " + save_as + "\n";
    if (!run_input()) return 1;
    if (run < seeds && muster::fuzz::refusals() > 0) {
      std::fprintf(stderr, "%s: its seed %llu is refused; mend the target\n", name.c_str(), count(run));
      return 1;
    }
  }
  std::printf("%s: %llu runs from seed %llu in %.1f s, %llu of them taken, no finding\n", name.c_str(), count(run),
              count(seed), passed(), count(run - muster::fuzz::refusals()));
  stop_watching();
  return 0;
}
