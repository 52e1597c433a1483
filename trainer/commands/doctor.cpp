// muster doctor: what this machine gives a run.
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "dataloader/clip_bpe.h"
#include "dataloader/text/escaped.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/describe_version.h"

namespace muster {
namespace {

void print(const char* name, const std::string& value) {
  fmt::print("{:<16} {}\n", name, value);
}

std::string gib(double bytes) {
  return fmt::format("{:.1f} GiB", bytes / (1 << 30));
}

// The first line of a file of the kernel, or nothing.
std::string kernel_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const bool known = sched_getaffinity(0, sizeof set, &set) == 0;
  std::string text = fmt::format("{} of {}", known ? CPU_COUNT(&set) : -1, sysconf(_SC_NPROCESSORS_ONLN));
  std::istringstream quota(kernel_line("/sys/fs/cgroup/cpu.max"));
  double time = 0, period = 0;
  if (quota >> time >> period && period > 0) text += fmt::format(", limited to the time of {:.1f}", time / period);
  return text;
}

std::string memory() {
  struct sysinfo info {};
  if (sysinfo(&info) != 0) return "unknown";
  std::string text = gib(static_cast<double>(info.totalram) * info.mem_unit);
  std::string limit = kernel_line("/sys/fs/cgroup/memory.max");
  if (limit.empty()) limit = kernel_line("/sys/fs/cgroup/memory/memory.limit_in_bytes");
  const double bytes = std::atof(limit.c_str());
  const bool limits = bytes > 0 && bytes < static_cast<double>(info.totalram) * info.mem_unit;
  return text + (limits ? ", limited to " + gib(bytes) : ", no lower limit");
}

std::string space(const char* path) {
  struct statvfs status {};
  if (statvfs(path, &status) != 0) return "not there";
  return gib(static_cast<double>(status.f_bavail) * static_cast<double>(status.f_frsize)) + " free";
}

std::string folder_here() {
  return access(".", W_OK) == 0 ? space(".") + ", writable" : "not writable; give --run and --out elsewhere";
}

std::string merges() {
  const std::string path = default_merges_path();
  try {
    const ClipBpe tokenizer(path);
    return escaped(path);
  } catch (const DataError& error) {
    return escaped(error.what());
  }
}

std::string ranks(const Process& process) {
  if (!process.has_mpi()) return "1, without a launcher; mpirun -n N muster doctor shows N";
  return fmt::format("{}, {} of them on this host", process.world_size(), process.local_size());
}

void print_environment(const Process& process) {
  std::istringstream versions(describe_version());
  for (std::string line; std::getline(versions, line);) {
    const bool wanted = line.rfind("muster ", 0) == 0 || line.rfind("LibTorch ", 0) == 0 || line.rfind("MPI ", 0) == 0;
    const size_t space = line.find(' ');
    if (wanted) print(line.substr(0, space).c_str(), line.substr(line.find_first_not_of(' ', space)));
  }
  print("ranks", ranks(process));
  print("cores", cores());
  print("threads", fmt::format("{} a rank unless train.threads says otherwise", at::get_num_threads()));
  print("memory", memory());
  print("/dev/shm", space("/dev/shm"));
  print("this folder", folder_here());
  print("CLIP's merges", merges());
  fmt::print("\nmuster doctor data PATH looks at a data set\n");
}

}  // namespace

void add_doctor_command(CLI::App& app, Process& process) {
  CLI::App* command =
      app.add_subcommand("doctor", "Say what this machine gives a run; doctor data: is a data set whole");
  add_doctor_data(*command, process);
  command->callback([command, &process] {
    if (command->get_subcommands().empty() && process.rank() == 0) print_environment(process);
  });
}

}  // namespace muster
