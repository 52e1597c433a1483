#include "trainer/gaussian_mixture.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

namespace muster {
namespace {

// Of the values below which the lower group ends: the cut of least sum of squares is the one where
// n0 mean0^2 + n1 mean1^2 is most.
double best_cut(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  double all = 0, below = 0, most = -1, cut = values.back();
  for (const double value : values) all += value;
  const auto count = static_cast<double>(values.size());
  for (size_t i = 1; i < values.size(); ++i) {
    below += values[i - 1];
    if (values[i] == values[i - 1]) continue;
    const auto n = static_cast<double>(i);
    const double squares = below * below / n + (all - below) * (all - below) / (count - n);
    if (squares > most) {
      most = squares;
      cut = values[i];
    }
  }
  return cut;
}

double log_density(double value, const NormalComponent& component) {
  const double away = value - component.mean;
  return std::log(component.weight) -
         0.5 * (std::log(2 * M_PI * component.variance) + away * away / component.variance);
}

// log(exp(a) + exp(b))
double log_sum(double a, double b) {
  const double most = std::max(a, b);
  return most + std::log1p(std::exp(std::min(a, b) - most));
}

// From each value's share in the first component.
void maximise(const std::vector<double>& values, const std::vector<double>& shares, double floor,
              std::array<NormalComponent, 2>& component) {
  const double least = 10 * std::numeric_limits<double>::epsilon();
  for (size_t c = 0; c < 2; ++c) {
    const auto share = [&](size_t i) { return c == 0 ? shares[i] : 1 - shares[i]; };
    double sum = least, first = 0, second = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      sum += share(i);
      first += share(i) * values[i];
    }
    const double mean = first / sum;
    for (size_t i = 0; i < values.size(); ++i) second += share(i) * (values[i] - mean) * (values[i] - mean);
    component[c] = {sum, mean, second / sum + floor};
  }
  const double sum = component[0].weight + component[1].weight;
  for (NormalComponent& one : component) one.weight /= sum;
}

}  // namespace

double GaussianMixture::probability_of_first(double value) const {
  const double first = log_density(value, component[0]);
  return std::exp(first - log_sum(first, log_density(value, component[1])));
}

GaussianMixture fit_gaussian_mixture(const std::vector<double>& values, const GaussianMixtureOptions& options) {
  if (values.size() < 2) throw std::logic_error("fit_gaussian_mixture: fewer than two values");
  GaussianMixture mixture;
  std::vector<double> shares;
  const double cut = best_cut(values);
  for (const double value : values) shares.push_back(value < cut ? 1 : 0);
  maximise(values, shares, options.variance_floor, mixture.component);
  double before = -std::numeric_limits<double>::infinity();
  while (mixture.iterations < options.iterations && !mixture.converged) {
    ++mixture.iterations;
    double likelihood = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double first = log_density(values[i], mixture.component[0]);
      const double both = log_sum(first, log_density(values[i], mixture.component[1]));
      shares[i] = std::exp(first - both);
      likelihood += both;
    }
    likelihood /= static_cast<double>(values.size());
    maximise(values, shares, options.variance_floor, mixture.component);
    mixture.converged = std::abs(likelihood - before) < options.tolerance;
    before = likelihood;
  }
  if (mixture.component[1].mean < mixture.component[0].mean) std::swap(mixture.component[0], mixture.component[1]);
  return mixture;
}

}  // namespace muster
