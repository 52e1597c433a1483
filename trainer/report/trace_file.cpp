#include "trainer/report/trace_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

class TraceWriter {
 public:
  explicit TraceWriter(const TraceTrack& track) : track_(track) {
    describe("process_name", {}, {{"name", fmt::format("rank {} on {}", track.rank, track.host)}});
    describe("process_sort_index", {}, {{"sort_index", track.rank}});
    for (size_t i = 0; i < track.threads.size(); ++i) describe("thread_name", i, {{"name", track.threads[i]}});
  }

  void add(const TraceEvent& event) {
    Json json{{"name", event.name},
              {"cat", event.category},
              {"ph", event.overlaps ? "b" : "X"},
              {"ts", microseconds(event.begin - track_.origin)},
              {"pid", track_.rank},
              {"tid", event.thread}};
    if (event.overlaps) json["id"] = ++overlapping_;
    if (!event.overlaps) json["dur"] = microseconds(event.end - event.begin);
    if (event.number.key != nullptr) json["args"] = {{event.number.key, event.number.value}};
    events_.push_back(json);
    if (!event.overlaps) return;
    json["ph"] = "e";
    json["ts"] = microseconds(event.end - track_.origin);
    json.erase("args");
    events_.push_back(std::move(json));
  }

  std::string text() const {
    // One event a line, for people with grep.
    std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
    for (size_t i = 0; i < events_.size(); ++i) {
      text += events_[i].dump(-1, ' ', false, Json::error_handler_t::replace) + (i + 1 < events_.size() ? ",\n" : "\n");
    }
    return text + "]}\n";
  }

 private:
  void describe(const char* what, std::optional<size_t> thread, Json arguments) {
    Json json{{"name", what}, {"ph", "M"}, {"pid", track_.rank}};
    if (thread) json["tid"] = *thread;
    json["args"] = std::move(arguments);
    events_.push_back(std::move(json));
  }

  static double microseconds(TraceClock::duration duration) {
    return std::chrono::duration<double, std::micro>(duration).count();
  }

  const TraceTrack& track_;
  std::vector<Json> events_;
  int64_t overlapping_ = 0;
};

}  // namespace

std::string to_trace_json(const TraceTrack& track, const std::vector<TraceEvent>& events) {
  TraceWriter writer(track);
  for (const TraceEvent& event : events) writer.add(event);
  return writer.text();
}

}  // namespace muster
