// Real programs run by a test: started, watched, killed.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace muster {

struct ProgramResult {
  int exit_code = 0;   // 128 + signal if one ended it
  std::string output;  // standard output and error together
};

// A program in a process group of its own; the destructor kills the group.
class ChildProcess {
 public:
  // argv[0] is looked up in PATH. Output goes to a temporary file.
  explicit ChildProcess(const std::vector<std::string>& argv);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Looks again and again until condition() holds (true), the program has ended or the limit has passed (false).
  bool wait_until(const std::function<bool()>& condition, std::chrono::seconds limit);

  // To every process of the group, children of mpirun in groups of their own included.
  void signal_all(int signal);

  // Processes below this one that run `program`: the ranks of an mpirun, in no order.
  std::vector<pid_t> descendants(const std::string& program) const;

  // What it has said so far.
  std::string output() const;

  ProgramResult wait();
  pid_t pid() const { return pid_; }

 private:
  bool ended();

  pid_t pid_ = -1;
  int status_ = 0;
  bool reaped_ = false;
  std::string output_path_;
};

ProgramResult run_program(const std::vector<std::string>& argv);

// "mpirun --oversubscribe -n RANKS" in front of the arguments.
std::vector<std::string> under_mpirun(int ranks, std::vector<std::string> argv);

// The program under test.
std::string muster_program();

}  // namespace muster
