#include "tests/support/child_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace muster {
namespace {

// Parent of a process, 0 if it is gone.
pid_t parent_of(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream rest(text.substr(name_end + 2));
  char state = 0;
  pid_t parent = 0;
  rest >> state >> parent;
  return parent;
}

std::vector<pid_t> family_of(pid_t root) {
  std::vector<pid_t> family = {root};
  std::vector<std::pair<pid_t, pid_t>> all;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    all.emplace_back(static_cast<pid_t>(std::stol(name)), parent_of(static_cast<pid_t>(std::stol(name))));
  }
  for (size_t i = 0; i < family.size(); ++i) {
    for (const auto& [pid, parent] : all) {
      if (parent == family[i]) family.push_back(pid);
    }
  }
  return family;
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& argv) {
  std::string pattern = (std::filesystem::temp_directory_path() / "muster-output-XXXXXX").string();
  const int output = mkstemp(pattern.data());
  if (output < 0) throw std::runtime_error("cannot make " + pattern);
  output_path_ = pattern;
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    setpgid(0, 0);
    // A test program under mpirun must not lend its own world to the program it starts.
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMIX_NAMESPACE"})
      unsetenv(name);
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(output, 1);
    dup2(output, 2);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  close(output);
}

ChildProcess::~ChildProcess() {
  if (!reaped_) {
    signal_all(SIGKILL);
    waitpid(pid_, &status_, 0);
  }
  unlink(output_path_.c_str());
}

bool ChildProcess::ended() {
  if (!reaped_ && waitpid(pid_, &status_, WNOHANG) == pid_) reaped_ = true;
  return reaped_;
}

bool ChildProcess::wait_until(const std::function<bool()>& condition, std::chrono::seconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < deadline) {
    if (condition()) return true;
    if (ended()) return condition();
    std::this_thread::yield();
    usleep(1000);
  }
  return false;
}

void ChildProcess::signal_all(int signal) {
  for (const pid_t pid : family_of(pid_)) kill(pid, signal);
}

std::vector<pid_t> ChildProcess::descendants(const std::string& program) const {
  std::vector<pid_t> found;
  for (const pid_t pid : family_of(pid_)) {
    std::error_code gone;
    const auto runs = std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", gone);
    if (!gone && runs == std::filesystem::path(program)) found.push_back(pid);
  }
  return found;
}

std::string ChildProcess::output() const {
  std::ifstream file(output_path_);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

ProgramResult ChildProcess::wait() {
  if (!reaped_) {
    waitpid(pid_, &status_, 0);
    reaped_ = true;
  }
  return {WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_), output()};
}

ProgramResult run_program(const std::vector<std::string>& argv) {
  return ChildProcess(argv).wait();
}

std::vector<std::string> under_mpirun(int ranks, std::vector<std::string> argv) {
  const std::vector<std::string> launcher = {"mpirun", "--oversubscribe", "-n", std::to_string(ranks)};
  argv.insert(argv.begin(), launcher.begin(), launcher.end());
  return argv;
}

std::string muster_program() {
  return MUSTER_BINARY_DIR "/muster";
}

}  // namespace muster
