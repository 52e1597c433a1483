#include "trainer/losses/unit_rows.h"

#include <cmath>

#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

template <typename T>
MUSTER_INLINE double dot_of(const T* __restrict a, const T* __restrict b, int64_t n, double factor) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) sum += (static_cast<double>(a[j]) * factor) * (static_cast<double>(b[j]) * factor);
  return sum;
}

MUSTER_VECTOR_CLONES double dot(const float* a, const float* b, int64_t n, double factor) {
  return dot_of(a, b, n, factor);
}
MUSTER_VECTOR_CLONES double dot(const double* a, const double* b, int64_t n, double factor) {
  return dot_of(a, b, n, factor);
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
MUSTER_INLINE void project_of(const T* __restrict row, int64_t n, double inverse_norm, T* __restrict gradient) {
  const double along = along_of(gradient, row, n, inverse_norm);
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const double unit = static_cast<double>(row[j]) * inverse_norm;
    gradient[j] = static_cast<T>((static_cast<double>(gradient[j]) - along * unit) * inverse_norm);
  }
}

MUSTER_VECTOR_CLONES void project(const float* row, int64_t n, double inverse_norm, float* gradient) {
  project_of(row, n, inverse_norm, gradient);
}
MUSTER_VECTOR_CLONES void project(const double* row, int64_t n, double inverse_norm, double* gradient) {
  project_of(row, n, inverse_norm, gradient);
}

// Euclidean norm that does not overflow: rows of extreme size are measured again in a scaled unit.
template <typename T>
double norm_of(const T* row, int64_t n) {
  const double squared = dot(row, row, n, 1.0);
  if (squared < 1e300) return std::sqrt(squared);
  double largest = 0;
  for (int64_t j = 0; j < n; ++j) {
    const double size = std::fabs(static_cast<double>(row[j]));
    if (!std::isfinite(size)) return size;
    largest = size > largest ? size : largest;
  }
  return largest * std::sqrt(dot(row, row, n, 1 / largest));
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
void UnitRows<T>::backward(int64_t first, int64_t count, T* gradient) const {
  for (int64_t i = first; i < first + count; ++i) {
    project(data_ + i * width_, width_, inverse_norm_[static_cast<size_t>(i)], gradient + (i - first) * width_);
  }
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
