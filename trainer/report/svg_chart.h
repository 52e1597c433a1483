// A line chart as inline SVG inside a <figure>: legend, axes with round ticks, gaps where a value is not finite, and a
// reading of the values under the pointer, without scripts. Colours come from the page's style (report_style.h).
#pragma once

#include <string>
#include <vector>

namespace muster {

struct ChartSeries {
  std::string name;
  std::vector<double> values;  // one for each x; not finite: a gap
};

struct Chart {
  std::string title;
  std::string unit;  // behind the values in the reading, e.g. " %"
  std::string x_name;
  std::vector<double> x;  // ascending
  std::vector<ChartSeries> series;
  bool from_zero = false;    // the y axis starts at zero
  bool mark_points = false;  // few values: a dot at each
};

std::string render_chart(const Chart& chart);

}  // namespace muster
