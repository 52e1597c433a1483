// A mixture of two normal distributions on the line, by expectation-maximisation: scikit-learn's GaussianMixture of two
// components and its order of steps, but for the start. That is the best cut of the sorted values into two groups
// (least sum of squares), which scikit-learn looks for from a random point (k-means).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace muster {

struct NormalComponent {
  double weight = 0;
  double mean = 0;
  double variance = 0;  // the floor included
};

struct GaussianMixture {
  std::array<NormalComponent, 2> component;  // that of the smaller mean first
  int64_t iterations = 0;
  bool converged = false;

  // That `value` belongs to the first component.
  double probability_of_first(double value) const;
};

struct GaussianMixtureOptions {
  int64_t iterations = 100;      // at the most, at least 1
  double tolerance = 1e-3;       // ends where the mean log-likelihood changes by less
  double variance_floor = 1e-6;  // added to each variance; more than 0
};

// Of at least two finite values. A pure function, in float64. std::logic_error: fewer.
GaussianMixture fit_gaussian_mixture(const std::vector<double>& values, const GaussianMixtureOptions& options);

}  // namespace muster
