#include "comm/watchdog.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "launch/exit_codes.h"
#include "launch/signals.h"

namespace muster {
namespace {

constexpr size_t kStepsRemembered = 63;
constexpr double kMediansAllowed = 5;
constexpr double kSilentTicks = 4;
constexpr double kGraceTicks = 5;

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(const std::deque<double>& values) {
  std::vector<double> sorted(values.begin(), values.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

}  // namespace

std::string host_name() {
  char name[256] = "unknown host";
  gethostname(name, sizeof name - 1);
  return name;
}

Watchdog::Watchdog(const WatchdogOptions& options, std::unique_ptr<StatusBoard> board)
    : options_(options),
      board_(std::move(board)),
      slot_(board_->slot_of(options.rank)),
      step_timeout_s_(options.first_timeout_s),
      timeout_now_s_(options.first_timeout_s) {
  status_.pid = getpid();
  status_.set_phase("start");
  board_->beat(slot_);
  write_status();
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard<std::mutex> lock(stop_mutex_);
    stop_ = true;
  }
  stop_changed_.notify_all();
  thread_.join();
}

void Watchdog::entered(int64_t sequence, const std::string& operation) {
  const std::lock_guard<std::mutex> lock(writers_);
  status_.entered = sequence;
  if (status_.oldest == 0) status_.set_operation(operation);
  write_status();
}

void Watchdog::waiting_for(int64_t sequence, const std::string& operation, int64_t bytes, double timeout_s) {
  const std::lock_guard<std::mutex> lock(writers_);
  status_.oldest = sequence;
  status_.bytes = bytes;
  status_.timeout_s = timeout_s;
  status_.set_operation(operation);
  write_status();
}

void Watchdog::waiting_for_nothing() {
  const std::lock_guard<std::mutex> lock(writers_);
  status_.oldest = 0;
  write_status();
}

void Watchdog::set_phase(const std::string& phase, double deadline_s) {
  const std::lock_guard<std::mutex> lock(writers_);
  status_.set_phase(phase);
  status_.phase_limit_s = deadline_s > 0 ? deadline_s : options_.first_timeout_s;
  timeout_now_s_ = deadline_s > 0 ? deadline_s : step_timeout_s_;
  ++status_.progress;
  step_began_s_ = now_s();
  write_status();
}

void Watchdog::step_done(int64_t step) {
  const std::lock_guard<std::mutex> lock(writers_);
  const double now = now_s();
  if (step_began_s_ > 0) step_seconds_.push_back(now - step_began_s_);
  if (step_seconds_.size() > kStepsRemembered) step_seconds_.pop_front();
  step_began_s_ = now;
  const double by_median = step_seconds_.empty() ? 0 : kMediansAllowed * median(step_seconds_);
  step_timeout_s_ = std::max(options_.timeout_s, by_median);
  timeout_now_s_ = step_timeout_s_;
  status_.step = step;
  ++status_.progress;
  write_status();
}

double Watchdog::call_timeout() const {
  const std::lock_guard<std::mutex> lock(writers_);
  return timeout_now_s_;
}

void Watchdog::set_timeout(double seconds) {
  const std::lock_guard<std::mutex> lock(writers_);
  timeout_now_s_ = seconds;
}

void Watchdog::write_status() {
  board_->write(slot_, status_);
}

std::string Watchdog::whereabouts() const {
  const RankStatus status = board_->read(slot_);
  return fmt::format("rank {} ({}, step {}, {})", options_.rank, host_name(), status.step, status.phase);
}

std::string Watchdog::who_lags(int64_t sequence) const {
  const double silent_s = kSilentTicks * options_.tick_s;
  std::string lagging;
  for (size_t slot = 0; slot < board_->ranks().size(); ++slot) {
    if (slot == slot_) continue;
    const RankStatus peer = board_->read(slot);
    const double silence = board_->seconds_since_beat(slot);
    if (peer.entered >= sequence && silence < silent_s) continue;
    lagging += fmt::format(
        "{}rank {} (pid {}) lags: {}, at call {} {}, step {}, {}", lagging.empty() ? "" : "; ", board_->ranks()[slot],
        peer.pid, silence < silent_s ? std::string("alive") : fmt::format("no sign of life for {:.0f} s", silence),
        peer.entered, peer.operation[0] == '\0' ? "(none)" : peer.operation, peer.step, peer.phase);
  }
  if (!lagging.empty()) return lagging;
  const bool all_here = static_cast<int>(board_->ranks().size()) == options_.world_size;
  return all_here ? "every rank has called it and is alive: is the network between them blocked?"
                  : "every rank of this host has called it and is alive: the one that lags is on another host";
}

void Watchdog::run() {
  // A gap longer than this means that the whole process was stopped: no time in which anything could be waited for.
  const double longest_tick_s = 2 * options_.tick_s;
  double last_s = now_s();
  std::unique_lock<std::mutex> lock(stop_mutex_);
  while (!stop_changed_.wait_for(lock, std::chrono::duration<double>(options_.tick_s), [this] { return stop_; })) {
    board_->beat(slot_);
    const double now = now_s();
    check_deadlines(std::min(now - last_s, longest_tick_s));
    last_s = now;
  }
}

void Watchdog::check_deadlines(double running_s) {
  const RankStatus status = board_->read(slot_);
  call_age_s_ = status.oldest != 0 && status.oldest == watched_call_ ? call_age_s_ + running_s : 0;
  watched_call_ = status.oldest;
  progress_age_s_ = status.progress == watched_progress_ ? progress_age_s_ + running_s : 0;
  watched_progress_ = status.progress;
  if (status.oldest != 0 && call_age_s_ > status.timeout_s + kGraceTicks * options_.tick_s) {
    end(unfinished(status.oldest, status.operation, status.bytes, call_age_s_));
  }
  if (options_.ends_phases && status.phase_limit_s > 0 &&
      progress_age_s_ > status.phase_limit_s + kGraceTicks * options_.tick_s) {
    end(fmt::format("{}: no progress for {:.0f} s, last call {} {}; {}", whereabouts(), progress_age_s_, status.entered,
                    status.operation, who_lags(status.entered)));
  }
}

std::string Watchdog::unfinished(int64_t sequence, const std::string& operation, int64_t bytes, double age_s) const {
  return fmt::format("{}: call {} {}, {} bytes, is not finished after {:.1f} s; {}", whereabouts(), sequence, operation,
                     bytes, age_s, who_lags(sequence));
}

void Watchdog::end(const std::string& line) const {
  const std::string text = line + "\n";
  const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
  static_cast<void>(written);
  _exit(static_cast<int>(ExitCode::kPeerLost));
}

}  // namespace muster
