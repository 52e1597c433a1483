// Collects what does not hold in a config, so that everything wrong is told at once.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace muster {

// One line a problem: "train.chunk is -1: give 0 (all rows at once) or more". NaN fails every condition.
class Checks {
 public:
  template <typename T>
  void require(bool holds, const std::string& field, const T& value, const std::string& remedy) {
    if (!holds) problems_.push_back(fmt::format("{} is {}: give {}", field, value, remedy));
  }
  void add(const std::string& problem) { problems_.push_back(problem); }
  void add(const std::vector<std::string>& problems) {
    problems_.insert(problems_.end(), problems.begin(), problems.end());
  }

  template <typename T>
  void at_least(T least, const std::string& field, T value, const std::string& meaning = "") {
    require(value >= least && std::isfinite(static_cast<double>(value)), field, value,
            fmt::format("{} or more{}", least, meaning.empty() ? "" : " (" + meaning + ")"));
  }
  void positive(const std::string& field, double value) {
    require(value > 0 && std::isfinite(value), field, value, "more than 0");
  }

  std::vector<std::string> take() { return std::move(problems_); }

 private:
  std::vector<std::string> problems_;
};

}  // namespace muster
