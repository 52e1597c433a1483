#include "trainer/references/row_adam.h"

#include <cmath>

#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

template <typename T>
struct Factors {
  T beta1;
  T beta2;
  T step_size;
  T root;  // 1 / sqrt(1 - beta2^t)
  T epsilon;
  T gradient_scale;
};

template <typename T>
MUSTER_INLINE void update_of(const AdamRow<T>& to, int64_t n, const Factors<T>& factors) {
  const Factors<T> f = factors;
  T* __restrict p = to.row;
  T* __restrict m = to.exp_avg;
  T* __restrict v = to.exp_avg_sq;
  const T* __restrict gradient = to.gradient;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const T g = gradient[j] * f.gradient_scale;
    m[j] = f.beta1 * m[j] + (1 - f.beta1) * g;
    v[j] = f.beta2 * v[j] + (1 - f.beta2) * g * g;
    p[j] -= f.step_size * m[j] / (std::sqrt(v[j]) * f.root + f.epsilon);
  }
}

template <typename T>
MUSTER_INLINE void coast_of(const AdamRow<T>& to, int64_t n, const Factors<T>& factors) {
  const Factors<T> f = factors;
  T* __restrict p = to.row;
  T* __restrict m = to.exp_avg;
  T* __restrict v = to.exp_avg_sq;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    m[j] = f.beta1 * m[j];
    v[j] = f.beta2 * v[j];
    p[j] -= f.step_size * m[j] / (std::sqrt(v[j]) * f.root + f.epsilon);
  }
}

template <typename T>
MUSTER_INLINE double squared_length_of(const T* __restrict row, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) sum += static_cast<double>(row[j]) * static_cast<double>(row[j]);
  return sum;
}

template <typename T>
MUSTER_INLINE void scale_of(T* __restrict row, int64_t n, T factor) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) row[j] *= factor;
}

MUSTER_VECTOR_CLONES void update(const AdamRow<float>& to, int64_t n, const Factors<float>& factors) {
  to.gradient == nullptr ? coast_of(to, n, factors) : update_of(to, n, factors);
}
MUSTER_VECTOR_CLONES void update(const AdamRow<double>& to, int64_t n, const Factors<double>& factors) {
  to.gradient == nullptr ? coast_of(to, n, factors) : update_of(to, n, factors);
}
MUSTER_VECTOR_CLONES double squared_length_clone(const float* row, int64_t n) {
  return squared_length_of(row, n);
}
MUSTER_VECTOR_CLONES double squared_length_clone(const double* row, int64_t n) {
  return squared_length_of(row, n);
}
MUSTER_VECTOR_CLONES void scale(float* row, int64_t n, float factor) {
  scale_of(row, n, factor);
}
MUSTER_VECTOR_CLONES void scale(double* row, int64_t n, double factor) {
  scale_of(row, n, factor);
}

}  // namespace

template <typename T>
double squared_length(const T* row, int64_t width) {
  return squared_length_clone(row, width);
}

template <typename T>
bool normalise_row(T* row, int64_t width) {
  const double length = std::sqrt(squared_length(row, width));
  if (!(length > 0) || !std::isfinite(length)) return false;
  scale(row, width, static_cast<T>(1 / length));
  return true;
}

template <typename T>
void adam_on_unit_row(const AdamRow<T>& row, int64_t width, const AdamNumbers& numbers, double gradient_scale) {
  const auto t = static_cast<double>(++*row.step);
  Factors<T> factors;
  factors.beta1 = static_cast<T>(numbers.beta1);
  factors.beta2 = static_cast<T>(numbers.beta2);
  factors.step_size = static_cast<T>(numbers.rate / (1 - std::pow(numbers.beta1, t)));
  factors.root = static_cast<T>(1 / std::sqrt(1 - std::pow(numbers.beta2, t)));
  factors.epsilon = static_cast<T>(numbers.epsilon);
  factors.gradient_scale = static_cast<T>(gradient_scale);
  update(row, width, factors);
  normalise_row(row.row, width);
}

template double squared_length(const float*, int64_t);
template double squared_length(const double*, int64_t);
template bool normalise_row(float*, int64_t);
template bool normalise_row(double*, int64_t);
template void adam_on_unit_row(const AdamRow<float>&, int64_t, const AdamNumbers&, double);
template void adam_on_unit_row(const AdamRow<double>&, int64_t, const AdamNumbers&, double);

}  // namespace muster
