// Notices a loss that is stuck where all scores are equal: of the hardest negatives' hinges both directions are then at
// the margin, 2 x margin (TERAN's author about VSE++, issue 27: "stays at exactly 2 B x margin"). Few such runs
// recover.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace muster {

class CollapseAlarm {
 public:
  // Steps in a row after which it speaks.
  static constexpr int64_t kSteps = 50;
  // How near the value must be, as a share of it.
  static constexpr double kNear = 0.005;

  // Values of terms that are stuck (0: cannot be), and their names, in the order of the terms.
  CollapseAlarm(std::vector<double> collapsed, std::vector<std::string> names);

  // The terms' values in a finished step, from 1 on. What to tell, once in each time that a term is stuck; else empty.
  std::string observe(int64_t step, const std::vector<double>& terms);

 private:
  std::vector<double> collapsed_;
  std::vector<std::string> names_;
  std::vector<int64_t> stuck_;  // steps in a row
};

}  // namespace muster
