#include "launch/log.h"

#include <glog/logging.h>

#include <atomic>
#include <cstdio>
#include <ctime>

namespace muster {
namespace {

// A log is one per process by nature. Rank -1: not started.
struct LogState {
  std::atomic<int> rank{-1};
  std::atomic<int> world_size{1};
  std::atomic<bool> info{true};
};

LogState& log_state() {
  static LogState state;
  return state;
}

std::string one_line(const std::string& text) {
  std::string line = text.substr(0, text.find_last_not_of('\n') + 1);
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return line;
}

std::string adorned(char severity, const std::string& text) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char clock[16];
  std::strftime(clock, sizeof clock, "%H:%M:%S", &local);
  std::string line = std::string(1, severity) + ' ' + clock + ' ';
  if (log_state().world_size > 1) line += "[rank " + std::to_string(log_state().rank) + "] ";
  return line + one_line(text);
}

bool started() {
  return log_state().rank >= 0;
}

void write_unadorned(const std::string& text) {
  std::fputs((one_line(text) + '\n').c_str(), stderr);
}

}  // namespace

void start_logging(const LogOptions& options) {
  // glog writes; the prefix is ours, since glog's own names source lines of this file. Lines go straight to standard
  // error, unbuffered, so that none is lost at an exit of any kind.
  FLAGS_logtostderr = true;
  FLAGS_log_prefix = false;
  if (!google::IsGoogleLoggingInitialized()) google::InitGoogleLogging("muster");
  log_state().world_size = options.world_size;
  log_state().info = options.rank == 0 || options.all_ranks;
  log_state().rank = options.rank;
}

void log_info(const std::string& line) {
  if (!log_state().info) return;
  if (!started()) return write_unadorned(line);
  LOG(INFO) << adorned('I', line);
}

void log_warning(const std::string& line) {
  if (!started()) return write_unadorned(line);
  LOG(WARNING) << adorned('W', line);
}

void log_error(const std::string& line) {
  if (!started()) return write_unadorned(line);
  LOG(ERROR) << adorned('E', line);
}

}  // namespace muster
