// Round numbers along an axis.
#pragma once

#include <string>
#include <vector>

namespace muster {

struct Axis {
  double low;
  double high;
  std::vector<double> ticks;  // within [low, high]
  std::vector<std::string> labels;
};

// Ticks at multiples of 1, 2 or 5 times a power of ten, about `count` of them. A rounded axis ends at ticks, else it
// ends at the values.
Axis make_axis(double low, double high, int count, bool rounded);

// Four significant digits, or as an exponent where that is shorter: 12.34, 1200, 5e-04.
std::string format_value(double value);

}  // namespace muster
