#include "trainer/step_trace.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>
#include <vector>

#include "dataloader/formats/atomic_file.h"
#include "launch/error.h"
#include "launch/log.h"
#include "trainer/report/trace_file.h"

namespace muster {
namespace {

constexpr int kMeetings = 9;

int64_t parse_step(const std::string& text, const std::string& whole) {
  int64_t step = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), step);
  if (error != std::errc() || end != text.data() + text.size() || step < 1) {
    throw ConfigError(fmt::format("--trace takes FIRST:LAST, steps from 1 on, such as 20:24, not '{}'", whole));
  }
  return step;
}

// Ranks leave a barrier at about the same time, but one may sleep a little longer. So they meet several times, and the
// median of what their clocks differ by from rank 0's counts. Returns the moment, on this rank's clock, of rank 0's
// last departure.
TraceClock::time_point common_moment(Communicator& communicator) {
  const at::Tensor own = at::empty({1, kMeetings}, at::kLong);
  for (int64_t i = 0; i < kMeetings; ++i) {
    communicator.barrier("trace clock");
    own.mutable_data_ptr<int64_t>()[i] = TraceClock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  }
  const at::Tensor all = at::empty({communicator.size(), kMeetings}, at::kLong);
  communicator.all_gather(all, own, split_rows(communicator.size(), communicator.size()), "trace clock").wait();
  const auto* first = all.const_data_ptr<int64_t>();
  std::vector<int64_t> ahead;
  for (int64_t i = 0; i < kMeetings; ++i) ahead.push_back(own.const_data_ptr<int64_t>()[i] - first[i]);
  std::nth_element(ahead.begin(), ahead.begin() + kMeetings / 2, ahead.end());
  return TraceClock::time_point(std::chrono::nanoseconds(first[kMeetings - 1] + ahead[kMeetings / 2]));
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown host";
}

}  // namespace

StepWindow parse_step_window(const std::string& text) {
  const size_t colon = text.find(':');
  const int64_t first = parse_step(text.substr(0, colon), text);
  const int64_t last = colon == std::string::npos ? first : parse_step(text.substr(colon + 1), text);
  if (last < first) throw ConfigError(fmt::format("--trace {}: the last step comes before the first", text));
  return {first, last};
}

StepTrace::StepTrace(const TraceRequest& request, std::string run_dir, Communicator& communicator, int64_t done,
                     int64_t total)
    : request_(request), run_dir_(std::move(run_dir)), communicator_(communicator) {
  if (request_.recorder == nullptr) return;
  const auto [first, last] = request_.window;
  if (first <= total && last > done) return;
  throw ConfigError(fmt::format("--trace {}:{} holds no step of this run, which goes from step {} to {}", first, last,
                                done + 1, total));
}

void StepTrace::before_step(int64_t step) {
  if (request_.recorder == nullptr || open_ || step < request_.window.first || step > request_.window.last) return;
  origin_ = common_moment(communicator_);
  request_.recorder->name_thread("training");
  request_.recorder->start();
  open_ = true;
}

void StepTrace::write() {
  request_.recorder->stop();
  open_ = false;
  const int rank = communicator_.rank();
  const std::string path = fmt::format("{}/trace.rank{}.json", run_dir_, rank);
  const std::vector<TraceEvent> events = request_.recorder->take();
  std::error_code failure;
  std::filesystem::create_directories(run_dir_, failure);  // on another host it may not be there
  write_file_atomically(path, to_trace_json({rank, host_name(), origin_, request_.recorder->threads()}, events));
  log_info(fmt::format("traced into {}/trace.rank*.json, {} file{}; open them in ui.perfetto.dev or chrome://tracing",
                       run_dir_, communicator_.size(), communicator_.size() == 1 ? "" : "s"));
}

}  // namespace muster
