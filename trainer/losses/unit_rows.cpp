#include "trainer/losses/unit_rows.h"

#include <cmath>

#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

template <typename T>
MUSTER_INLINE double dot_of(const T* a, double a_factor, const T* b, double b_factor, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) {
    sum += (static_cast<double>(a[j]) * a_factor) * (static_cast<double>(b[j]) * b_factor);
  }
  return sum;
}

MUSTER_VECTOR_CLONES double dot(const float* a, double a_factor, const float* b, double b_factor, int64_t n) {
  return dot_of(a, a_factor, b, b_factor, n);
}
MUSTER_VECTOR_CLONES double dot(const double* a, double a_factor, const double* b, double b_factor, int64_t n) {
  return dot_of(a, a_factor, b, b_factor, n);
}

template <typename T>
MUSTER_INLINE void scale_of(const T* __restrict row, int64_t n, double factor, T* __restrict out) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) out[j] = static_cast<T>(static_cast<double>(row[j]) * factor);
}

MUSTER_VECTOR_CLONES void scale(const float* row, int64_t n, double factor, float* out) {
  scale_of(row, n, factor, out);
}
MUSTER_VECTOR_CLONES void scale(const double* row, int64_t n, double factor, double* out) {
  scale_of(row, n, factor, out);
}

template <typename T>
MUSTER_INLINE double along_of(const T* __restrict gradient, const T* __restrict row, int64_t n, double inverse_norm) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) {
    sum += static_cast<double>(gradient[j]) * (static_cast<double>(row[j]) * inverse_norm);
  }
  return sum;
}

template <typename T>
MUSTER_INLINE void project_of(const T* __restrict row, int64_t n, double inverse_norm, double scale,
                              double norm_gradient, T* __restrict gradient) {
  const double along = along_of(gradient, row, n, inverse_norm) * scale - norm_gradient;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const double unit = static_cast<double>(row[j]) * inverse_norm;
    gradient[j] = static_cast<T>(static_cast<double>(gradient[j]) * scale - along * unit);
  }
}

MUSTER_VECTOR_CLONES void project(const float* row, int64_t n, double inverse_norm, double scale, double norm_gradient,
                                  float* gradient) {
  project_of(row, n, inverse_norm, scale, norm_gradient, gradient);
}
MUSTER_VECTOR_CLONES void project(const double* row, int64_t n, double inverse_norm, double scale, double norm_gradient,
                                  double* gradient) {
  project_of(row, n, inverse_norm, scale, norm_gradient, gradient);
}

// Euclidean norm that does not overflow: rows of extreme size are measured again in a scaled unit.
template <typename T>
double norm_of(const T* row, int64_t n) {
  const double squared = dot(row, 1.0, row, 1.0, n);
  if (squared < 1e300) return std::sqrt(squared);
  double largest = 0;
  for (int64_t j = 0; j < n; ++j) {
    const double size = std::fabs(static_cast<double>(row[j]));
    if (!std::isfinite(size)) return size;
    largest = size > largest ? size : largest;
  }
  return largest * std::sqrt(dot(row, 1 / largest, row, 1 / largest, n));
}

}  // namespace

template <typename T>
UnitRows<T>::UnitRows(const T* data, int64_t rows, int64_t width)
    : data_(data), width_(width), inverse_norm_(static_cast<size_t>(rows), 0.0) {}

template <typename T>
void UnitRows<T>::measure(int64_t first, int64_t count) {
  for (int64_t i = first; i < first + count; ++i) {
    const double norm = norm_of(data_ + i * width_, width_);
    inverse_norm_[static_cast<size_t>(i)] = std::isfinite(norm) ? (norm > kNormEpsilon ? 1 / norm : 0) : std::nan("");
  }
}

template <typename T>
void UnitRows<T>::load(int64_t first, int64_t count, T* out) const {
  for (int64_t i = first; i < first + count; ++i) {
    scale(data_ + i * width_, width_, inverse_norm_[static_cast<size_t>(i)], out + (i - first) * width_);
  }
}

template <typename T>
void UnitRows<T>::backward(int64_t first, int64_t count, const double* norm_gradient, T* gradient) const {
  for (int64_t i = 0; i < count; ++i) {
    const double inverse = inverse_norm_[static_cast<size_t>(first + i)];
    muster::project(data_ + (first + i) * width_, width_, inverse, inverse,
                    norm_gradient == nullptr ? 0 : norm_gradient[i], gradient + i * width_);
  }
}

template <typename T>
void UnitRows<T>::project(int64_t first, int64_t count, T* y) const {
  for (int64_t i = 0; i < count; ++i) {
    muster::project(data_ + (first + i) * width_, width_, inverse_norm_[static_cast<size_t>(first + i)], 1, 0,
                    y + i * width_);
  }
}

template <typename T>
double UnitRows<T>::cosine(int64_t i, const UnitRows& other, int64_t j) const {
  return dot(data_ + i * width_, inverse_norm_[static_cast<size_t>(i)], other.data_ + j * width_,
             other.inverse_norm_[static_cast<size_t>(j)], width_);
}

template <typename T>
double UnitRows<T>::norm(int64_t row) const {
  const double inverse = inverse_norm_[static_cast<size_t>(row)];
  return inverse == 0 ? 0 : 1 / inverse;
}

template <typename T>
bool UnitRows<T>::all_finite() const {
  for (const double inverse : inverse_norm_) {
    if (!std::isfinite(inverse)) return false;
  }
  return true;
}

template class UnitRows<float>;
template class UnitRows<double>;

}  // namespace muster
