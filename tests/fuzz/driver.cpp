// Runs a fuzz target where there is no libFuzzer:
//
//   NAME_fuzz [--seed N] [--runs N] [--seconds S] [--corpus FILE] [--keep FILE]
//   NAME_fuzz FILE...   these inputs
//
// First come the target's seeds and the corpus's inputs, then changed ones, until N runs or S seconds are over. A
// corpus is a line of hexadecimal digits an input; --keep writes one with an input for each reason that the reader
// gave.
//
// A finding (a signal, a sanitizer's report, an exception that the target lets out, more than a second of processor
// time for one input, more than 512 MiB) is written to NAME_fuzz.seed-S.run-R.input in the current folder, with a line
// that says how to repeat it.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "tests/fuzz/mutator.h"
#include "tests/fuzz/target.h"

// Both sanitizers, each with a runtime of its own, end in SIGABRT, behind their reports.
extern "C" const char* __asan_default_options() {
  return "abort_on_error=1:max_allocation_size_mb=512";
}
extern "C" const char* __ubsan_default_options() {
  return "abort_on_error=1:print_stacktrace=1";
}

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr int kProcessorSeconds = 5;  // which takes some five times as long
#else
constexpr int kProcessorSeconds = 1;  // for one input
#endif
constexpr rlim_t kMostBytes = rlim_t{512} << 20U;

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
  say(signal == SIGPROF ? "it takes too long\n" : "the program is ended by a signal\n");
  report_finding();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
  _exit(1);
}

void watch_for_ends() {
  for (const int signal : {SIGABRT, SIGPROF}) std::signal(signal, on_signal);
#ifndef __SANITIZE_ADDRESS__  // which has handlers of its own for the others, and takes memory as it likes
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, on_signal);
  const rlimit limit = {kMostBytes, kMostBytes};  // of the whole process
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
  setitimer(ITIMER_PROF, &limit, nullptr);
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

std::vector<std::string> read_corpus(const std::string& path) {
  std::vector<std::string> inputs;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::string bytes;
    for (size_t i = 0; i + 1 < line.size(); i += 2) {
      bytes += static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16));
    }
    inputs.push_back(bytes);
  }
  return inputs;
}

// One input a reason, the shortest: numbers and quoted texts in it do not count.
class Reasons {
 public:
  void take(const std::string& reason, const std::string& bytes) {
    constexpr size_t kLong = 2048;
    if (bytes.size() > kLong) return;
    std::string form;
    for (const char c : reason.substr(0, 300)) {
      const bool letter = (c >= 'a' && c <= 'z') || c == ' ';
      if (letter) form += c;
    }
    const auto [known, is_new] = inputs_.try_emplace(form.substr(0, 60), bytes);
    if (!is_new && bytes.size() < known->second.size()) known->second = bytes;
  }

  void write(const std::string& path) const {
    constexpr size_t kMost = 40;  // the shortest: reasons that quote the input have no end
    std::vector<std::string> shortest;
    for (const auto& [form, bytes] : inputs_) shortest.push_back(bytes);
    std::sort(shortest.begin(), shortest.end(),
              [](const std::string& a, const std::string& b) { return a.size() < b.size(); });
    shortest.resize(std::min(shortest.size(), kMost));
    std::ofstream file(path);
    for (const std::string& bytes : shortest) {
      for (const char byte : bytes) {
        constexpr char kDigits[] = "0123456789abcdef";
        file << kDigits[static_cast<uint8_t>(byte) >> 4U] << kDigits[static_cast<uint8_t>(byte) & 15U];
      }
      file << '\n';
    }
  }

 private:
  std::map<std::string, std::string> inputs_;
};

struct Options {
  uint64_t seed = 1, runs = 0;
  double seconds = 0;
  std::string corpus, keep;
};

// Returns the first argument behind them.
int parse(int argc, char** argv, Options& options) {
  int next = 1;
  for (; next + 1 < argc && std::strncmp(argv[next], "--", 2) == 0; next += 2) {
    const std::string option = argv[next], value = argv[next + 1];
    if (option == "--seed") options.seed = std::stoull(value);
    if (option == "--runs") options.runs = std::stoull(value);
    if (option == "--seconds") options.seconds = std::stod(value);
    if (option == "--corpus") options.corpus = value;
    if (option == "--keep") options.keep = value;
  }
  if (options.runs == 0 && options.seconds == 0) options.runs = 10000;
  return next;
}

// Exit code.
int run_inputs(const std::string& program, const Options& options) {
  const std::string name = program.substr(program.rfind('/') + 1);
  std::vector<std::string> starts = muster::fuzz::seeds();
  const size_t seeds = starts.size();
  for (const std::string& bytes : read_corpus(options.corpus)) starts.push_back(bytes);
  muster::fuzz::Mutator mutator(starts, muster::fuzz::words());
  Reasons reasons;
  const auto begun = std::chrono::steady_clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(); };
  uint64_t run = 0, taken = 0;
  for (; (options.runs == 0 || run < options.runs) && (options.seconds == 0 || passed() < options.seconds); ++run) {
    const uint64_t refused = muster::fuzz::refusals();
    input = mutator.make(options.seed, run);
    save_as = name + ".seed-" + std::to_string(options.seed) + ".run-" + std::to_string(run) + ".input";
    repeat_by = program + " " + save_as + "\n";
    if (!run_input()) return 1;
    if (run < seeds && muster::fuzz::refusals() > 0) {
      std::fprintf(stderr, "%s: its seed %llu is refused (%s); mend the target\n", name.c_str(), count(run),
                   muster::fuzz::last_refusal().c_str());
      return 1;
    }
    if (muster::fuzz::refusals() > refused) {
      reasons.take(muster::fuzz::last_refusal(), input);
    } else {
      ++taken;
    }
  }
  std::printf("%s: %llu runs from seed %llu in %.1f s, %llu of them taken, no finding\n", name.c_str(), count(run),
              count(options.seed), passed(), count(taken));
  if (!options.keep.empty()) reasons.write(options.keep);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  const int next = parse(argc, argv, options);
  watch_for_ends();
  if (next < argc) return run_files(argv[0], argv + next, argv + argc);
  const int outcome = run_inputs(argv[0], options);
  stop_watching();
  return outcome;
}
