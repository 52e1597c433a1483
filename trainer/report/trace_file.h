// Recorded spans as a trace in Chrome's JSON form, which chrome://tracing and Perfetto (ui.perfetto.dev) open.
//
// Spans are complete events ("ph":"X"); collectives, which run beside them, are asynchronous ones ("b" and "e" with an
// id). Times are microseconds. The process of an event is the rank, its name carries the host's.
// Format: "Trace Event Format", github.com/catapult-project/catapult.
#pragma once

#include <string>
#include <vector>

#include "launch/trace.h"

namespace muster {

struct TraceTrack {
  int rank = 0;
  std::string host;
  TraceClock::time_point origin;     // time 0, the same moment on every rank
  std::vector<std::string> threads;  // as TraceRecorder::threads()
};

// One JSON object.
std::string to_trace_json(const TraceTrack& track, const std::vector<TraceEvent>& events);

}  // namespace muster
