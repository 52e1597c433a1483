#include "launch/trace.h"

#include <algorithm>

namespace muster {

void TraceRecorder::name_thread(const std::string& name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = std::find(threads_.begin(), threads_.end(), name);
  rows_[std::this_thread::get_id()] = static_cast<int>(found - threads_.begin());
  if (found == threads_.end()) threads_.push_back(name);
}

int TraceRecorder::row_of_this_thread() {
  const auto [entry, is_new] = rows_.emplace(std::this_thread::get_id(), static_cast<int>(threads_.size()));
  if (is_new) threads_.push_back("thread " + std::to_string(threads_.size()));
  return entry->second;
}

void TraceRecorder::add(TraceEvent event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  event.thread = row_of_this_thread();
  events_.push_back(std::move(event));
}

std::vector<TraceEvent> TraceRecorder::take() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(events_, {});
}

std::vector<std::string> TraceRecorder::threads() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return threads_;
}

}  // namespace muster
