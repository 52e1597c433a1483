#include "trainer/losses/alignment_kernels.h"

#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

template <typename T>
MUSTER_INLINE void best_of(const T* __restrict a, int64_t regions, int64_t words, const T* __restrict scale,
                           T* __restrict best) {
  for (int64_t w = 0; w < words; ++w) best[w] = a[w] * scale[0];
  for (int64_t r = 1; r < regions; ++r) {
    const T* __restrict row = a + r * words;
    const T factor = scale[r];
    for (int64_t w = 0; w < words; ++w) {
      const T cosine = row[w] * factor;
      best[w] = cosine > best[w] ? cosine : best[w];
    }
  }
}

template <typename T>
MUSTER_INLINE void best_and_index_of(const T* __restrict a, int64_t regions, int64_t words, const T* __restrict scale,
                                     T* __restrict best, int32_t* __restrict region) {
  for (int64_t w = 0; w < words; ++w) best[w] = a[w] * scale[0];
  for (int64_t w = 0; w < words; ++w) region[w] = 0;
  for (int64_t r = 1; r < regions; ++r) {
    const T* __restrict row = a + r * words;
    const T factor = scale[r];
    const auto index = static_cast<int32_t>(r);
    for (int64_t w = 0; w < words; ++w) {
      const T cosine = row[w] * factor;
      const bool better = cosine > best[w];
      region[w] = better ? index : region[w];
      best[w] = better ? cosine : best[w];
    }
  }
}

template <typename T>
MUSTER_INLINE void multiply_of(const T* __restrict a, int64_t words, const T* __restrict scale, T* __restrict to) {
  for (int64_t w = 0; w < words; ++w) to[w] = a[w] * scale[w];
}

template <typename T>
MUSTER_INLINE void add_of(const T* __restrict a, int64_t count, T factor, T* __restrict to) {
  for (int64_t i = 0; i < count; ++i) to[i] += factor * a[i];
}

}  // namespace

MUSTER_VECTOR_CLONES void best_regions(const float* a, int64_t regions, int64_t words, const float* scale,
                                       float* best) {
  best_of(a, regions, words, scale, best);
}
MUSTER_VECTOR_CLONES void best_regions(const double* a, int64_t regions, int64_t words, const double* scale,
                                       double* best) {
  best_of(a, regions, words, scale, best);
}
MUSTER_VECTOR_CLONES void best_regions(const float* a, int64_t regions, int64_t words, const float* scale, float* best,
                                       int32_t* region) {
  best_and_index_of(a, regions, words, scale, best, region);
}
MUSTER_VECTOR_CLONES void best_regions(const double* a, int64_t regions, int64_t words, const double* scale,
                                       double* best, int32_t* region) {
  best_and_index_of(a, regions, words, scale, best, region);
}
MUSTER_VECTOR_CLONES void multiply(const float* a, int64_t words, const float* scale, float* to) {
  multiply_of(a, words, scale, to);
}
MUSTER_VECTOR_CLONES void multiply(const double* a, int64_t words, const double* scale, double* to) {
  multiply_of(a, words, scale, to);
}
MUSTER_VECTOR_CLONES void add_multiple(const float* a, int64_t count, float factor, float* to) {
  add_of(a, count, factor, to);
}
MUSTER_VECTOR_CLONES void add_multiple(const double* a, int64_t count, double factor, double* to) {
  add_of(a, count, factor, to);
}

}  // namespace muster
