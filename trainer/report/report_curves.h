// The curves section of the report: what metrics.jsonl tells.
#pragma once

#include <string>

#include "trainer/report/metrics_file.h"

namespace muster {

// A grid of charts; a sentence if there is nothing to draw.
std::string render_curves(const MetricsHistory& history);

}  // namespace muster
