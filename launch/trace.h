// What the threads of this process do, and when: spans for Chrome's trace viewer and Perfetto. Knows no files.
//
// There is no global recorder: whoever is to record is handed a pointer, and a null pointer records nothing. A span
// costs one branch then, and one more load while the recorder is not started.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace muster {

using TraceClock = std::chrono::steady_clock;

// A number shown with a span: {"bytes", 4096}. Without a key there is none. Keys are literals.
struct TraceNumber {
  const char* key = nullptr;
  int64_t value = 0;
};

struct TraceEvent {
  std::string name;
  const char* category = "";  // a literal
  TraceClock::time_point begin;
  TraceClock::time_point end;
  TraceNumber number;
  int thread = 0;         // index into TraceRecorder::threads()
  bool overlaps = false;  // may run beside other events of its thread, as a started collective does; else they nest
};

// Any number of threads. Recorded are the spans that begin between start() and stop(), each once it has ended.
class TraceRecorder {
 public:
  bool is_recording() const { return recording_.load(std::memory_order_relaxed); }
  void start() { recording_.store(true, std::memory_order_relaxed); }
  void stop() { recording_.store(false, std::memory_order_relaxed); }

  // The calling thread is called this from now on. A later thread of the same name shares its row.
  void name_thread(const std::string& name);

  // Of the calling thread.
  void add(TraceEvent event);

  // All events so far, in the order of their ends; none are left.
  std::vector<TraceEvent> take();
  // Names of the threads, by index.
  std::vector<std::string> threads() const;

 private:
  int row_of_this_thread();

  std::atomic<bool> recording_{false};
  mutable std::mutex mutex_;
  std::vector<TraceEvent> events_;
  std::vector<std::string> threads_;
  std::map<std::thread::id, int> rows_;
};

// From its construction to its destruction on this thread.
class TraceSpan {
 public:
  // `recorder` may be null and must outlive the span; `name` and `category` are literals.
  TraceSpan(TraceRecorder* recorder, const char* name, TraceNumber number = {}, const char* category = "step")
      : recorder_(recorder != nullptr && recorder->is_recording() ? recorder : nullptr) {
    if (recorder_ == nullptr) return;
    name_ = name;
    category_ = category;
    number_ = number;
    begin_ = TraceClock::now();
  }
  ~TraceSpan() {
    if (recorder_ != nullptr) recorder_->add({name_, category_, begin_, TraceClock::now(), number_});
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  TraceRecorder* recorder_;
  const char* name_ = nullptr;
  const char* category_ = nullptr;
  TraceNumber number_;
  TraceClock::time_point begin_;
};

}  // namespace muster
