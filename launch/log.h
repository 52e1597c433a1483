// Muster's log: the only place that meets glog. One line per call, with time, severity and rank.
// Safe from any thread. Before start_logging() lines go to standard error unadorned.
#pragma once

#include <string>

namespace muster {

struct LogOptions {
  int rank = 0;
  int world_size = 1;
  // Ranks other than 0 print warnings and errors only, so that a line appears once, not once a rank.
  bool all_ranks = false;
};

void start_logging(const LogOptions& options);

void log_info(const std::string& line);
void log_warning(const std::string& line);
void log_error(const std::string& line);

}  // namespace muster
