// Wall and processor time of a piece of work.
#pragma once

#include <functional>
#include <vector>

namespace muster {

struct Seconds {
  double wall = 0;
  double cpu = 0;  // of all threads of this process
};

Seconds time_of(const std::function<void()>& work);

// Not empty; of an even number, the upper one of the two in the middle.
double median(std::vector<double> values);

}  // namespace muster
