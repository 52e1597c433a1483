#include "trainer/retrieval/panel_kernel.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "trainer/retrieval/score_kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace muster {
namespace {

float value_of(float stored) {
  return stored;
}

float value_of(uint16_t stored) {
  return half_value(stored);
}

template <typename Stored>
void score_portable(const float* query, int64_t width, const Stored* panels, int64_t count, float* scores) {
  for (int64_t p = 0; p < count; ++p, scores += kPanelRows) {
    float sums[kPanelRows] = {};
    for (int64_t c = 0; c < width; ++c, panels += kPanelRows) {
      for (int64_t r = 0; r < kPanelRows; ++r) sums[r] = std::fma(query[c], value_of(panels[r]), sums[r]);
    }
    std::copy(sums, sums + kPanelRows, scores);
  }
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) inline __m512 load16(const float* stored) {
  return _mm512_loadu_ps(stored);
}

__attribute__((target("avx512f"))) inline __m512 load16(const uint16_t* stored) {
  // Masked by all ones: GCC 12 warns of its own header's unmasked form.
  return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(stored)));
}

template <typename Stored>
__attribute__((target("avx512f"))) void score_avx512(const float* query, int64_t width, const Stored* panels,
                                                     int64_t count, float* scores) {
  for (int64_t p = 0; p < count; ++p, scores += kPanelRows) {
    __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
    for (int64_t c = 0; c < width; ++c, panels += kPanelRows) {
      const __m512 value = _mm512_set1_ps(query[c]);
      low = _mm512_fmadd_ps(value, load16(panels), low);
      high = _mm512_fmadd_ps(value, load16(panels + 16), high);
    }
    _mm512_storeu_ps(scores, low);
    _mm512_storeu_ps(scores + 16, high);
  }
}

__attribute__((target("avx2,fma,f16c"))) inline __m256 load8(const float* stored) {
  return _mm256_loadu_ps(stored);
}

__attribute__((target("avx2,fma,f16c"))) inline __m256 load8(const uint16_t* stored) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(stored)));
}

template <typename Stored>
__attribute__((target("avx2,fma,f16c"))) void score_avx2(const float* query, int64_t width, const Stored* panels,
                                                         int64_t count, float* scores) {
  for (int64_t p = 0; p < count; ++p, scores += kPanelRows) {
    __m256 sums[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t c = 0; c < width; ++c, panels += kPanelRows) {
      const __m256 value = _mm256_set1_ps(query[c]);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sums[i] = _mm256_fmadd_ps(value, load8(panels + 8 * i), sums[i]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) _mm256_storeu_ps(scores + 8 * i, sums[i]);
  }
}
#endif

template <typename Stored>
ScoreQueryVariants<Stored> variants() {
  ScoreQueryVariants<Stored> made{nullptr, nullptr, score_portable<Stored>};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) made.avx512 = score_avx512<Stored>;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    made.avx2 = score_avx2<Stored>;
  }
#endif
  return made;
}

template <typename Stored>
ScoreQuery<Stored> best() {
  const ScoreQueryVariants<Stored> all = variants<Stored>();
  if (all.avx512) return all.avx512;
  return all.avx2 ? all.avx2 : all.portable;
}

}  // namespace

ScoreQueryVariants<float> score_query_variants() {
  return variants<float>();
}

ScoreQueryVariants<uint16_t> score_query_half_variants() {
  return variants<uint16_t>();
}

void score_query(const float* query, int64_t width, const float* panels, int64_t count, float* scores) {
  static const ScoreQuery<float> score = best<float>();
  score(query, width, panels, count, scores);
}

void score_query(const float* query, int64_t width, const uint16_t* panels, int64_t count, float* scores) {
  static const ScoreQuery<uint16_t> score = best<uint16_t>();
  score(query, width, panels, count, scores);
}

float half_value(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16;
  const uint32_t magnitude = bits & 0x7fffU;
  if (magnitude >= 0x7c00U) {  // infinity, NaN
    const uint32_t wide = sign | 0x7f800000U | (magnitude & 0x3ffU) << 13;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }
  // Exponent and fraction of binary16, read as binary32's, are 2^112 too small; denormal ones included.
  const uint32_t small = magnitude << 13;
  float value;
  std::memcpy(&value, &small, sizeof value);
  value *= 0x1p112F;
  return sign != 0 ? -value : value;
}

}  // namespace muster
