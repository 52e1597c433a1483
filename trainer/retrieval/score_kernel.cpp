#include "trainer/retrieval/score_kernel.h"

#include <algorithm>
#include <cmath>

#if defined(__x86_64__)
#include <immintrin.h>
#define MUSTER_CLONES __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define MUSTER_CLONES
#endif

namespace muster {
namespace {

void score_panel_portable(const float* queries, int64_t query_stride, int64_t width, const float* panel, float* scores,
                          int64_t score_stride) {
  for (int64_t q = 0; q < kGroupRows; ++q) {
    float sums[kPanelRows] = {};
    for (int64_t c = 0; c < width; ++c) {
      const float value = queries[q * query_stride + c];
      for (int64_t r = 0; r < kPanelRows; ++r) sums[r] = std::fma(value, panel[c * kPanelRows + r], sums[r]);
    }
    std::copy(sums, sums + kPanelRows, scores + q * score_stride);
  }
}

// Eight independent chains hide the latency of each.
void score_eight_portable(const float* query, const float* const* rows, int64_t width, float* scores) {
  float sums[8] = {};
  for (int64_t c = 0; c < width; ++c) {
    for (int i = 0; i < 8; ++i) sums[i] = std::fma(query[c], rows[i][c], sums[i]);
  }
  std::copy(sums, sums + 8, scores);
}

#if defined(__x86_64__)
__attribute__((target("fma"))) void score_eight_fma(const float* query, const float* const* rows, int64_t width,
                                                    float* scores) {
  __m128 sums[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) sums[i] = _mm_setzero_ps();
  for (int64_t c = 0; c < width; ++c) {
    const __m128 value = _mm_load_ss(query + c);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) sums[i] = _mm_fmadd_ss(value, _mm_load_ss(rows[i] + c), sums[i]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) _mm_store_ss(scores + i, sums[i]);
}

// 24 of the 32 registers hold sums.
__attribute__((target("avx512f"))) void score_panel_avx512(const float* queries, int64_t query_stride, int64_t width,
                                                           const float* panel, float* scores, int64_t score_stride) {
  __m512 sums[kGroupRows][2];
#pragma GCC unroll 12
  for (int q = 0; q < kGroupRows; ++q) sums[q][0] = sums[q][1] = _mm512_setzero_ps();
  for (int64_t c = 0; c < width; ++c) {
    const __m512 low = _mm512_loadu_ps(panel + c * kPanelRows);
    const __m512 high = _mm512_loadu_ps(panel + c * kPanelRows + 16);
#pragma GCC unroll 12
    for (int q = 0; q < kGroupRows; ++q) {
      const __m512 value = _mm512_set1_ps(queries[q * query_stride + c]);
      sums[q][0] = _mm512_fmadd_ps(value, low, sums[q][0]);
      sums[q][1] = _mm512_fmadd_ps(value, high, sums[q][1]);
    }
  }
#pragma GCC unroll 12
  for (int q = 0; q < kGroupRows; ++q) {
    _mm512_storeu_ps(scores + q * score_stride, sums[q][0]);
    _mm512_storeu_ps(scores + q * score_stride + 16, sums[q][1]);
  }
}

// 6 queries x 16 rows at a time: 12 of the 16 registers hold sums.
__attribute__((target("avx2,fma"))) void score_sixteen_avx2(const float* queries, int64_t query_stride, int64_t width,
                                                            const float* panel, float* scores, int64_t score_stride) {
  __m256 sums[6][2];
#pragma GCC unroll 6
  for (int q = 0; q < 6; ++q) sums[q][0] = sums[q][1] = _mm256_setzero_ps();
  for (int64_t c = 0; c < width; ++c) {
    const __m256 low = _mm256_loadu_ps(panel + c * kPanelRows);
    const __m256 high = _mm256_loadu_ps(panel + c * kPanelRows + 8);
#pragma GCC unroll 6
    for (int q = 0; q < 6; ++q) {
      const __m256 value = _mm256_set1_ps(queries[q * query_stride + c]);
      sums[q][0] = _mm256_fmadd_ps(value, low, sums[q][0]);
      sums[q][1] = _mm256_fmadd_ps(value, high, sums[q][1]);
    }
  }
#pragma GCC unroll 6
  for (int q = 0; q < 6; ++q) {
    _mm256_storeu_ps(scores + q * score_stride, sums[q][0]);
    _mm256_storeu_ps(scores + q * score_stride + 8, sums[q][1]);
  }
}

void score_panel_avx2(const float* queries, int64_t query_stride, int64_t width, const float* panel, float* scores,
                      int64_t score_stride) {
  for (int64_t q = 0; q < kGroupRows; q += 6) {
    for (int64_t r = 0; r < kPanelRows; r += 16) {
      score_sixteen_avx2(queries + q * query_stride, query_stride, width, panel + r, scores + q * score_stride + r,
                         score_stride);
    }
  }
}
#endif

using ScoreEight = void (*)(const float*, const float* const*, int64_t, float*);

ScoreEight best_score_eight() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("fma")) return score_eight_fma;
#endif
  return score_eight_portable;
}

ScorePanel best_score_panel() {
  const ScorePanelVariants variants = score_panel_variants();
  if (variants.avx512) return variants.avx512;
  return variants.avx2 ? variants.avx2 : variants.portable;
}

}  // namespace

ScorePanelVariants score_panel_variants() {
  ScorePanelVariants variants{nullptr, nullptr, score_panel_portable};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) variants.avx512 = score_panel_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) variants.avx2 = score_panel_avx2;
#endif
  return variants;
}

double inverse_norm(const float* row, int64_t width) {
  double sum = 0;
  for (int64_t c = 0; c < width; ++c) sum += static_cast<double>(row[c]) * static_cast<double>(row[c]);
  return std::isfinite(sum) ? 1 / std::max(std::sqrt(sum), 1e-12) : std::nan("");
}

MUSTER_CLONES void scale_row(const float* row, double scale, int64_t width, float* unit) {
  for (int64_t c = 0; c < width; ++c) unit[c] = static_cast<float>(static_cast<double>(row[c]) * scale);
}

void pack_panel(const float* rows, int64_t row_stride, int64_t count, int64_t width, float* panel) {
  for (int64_t r = 0; r < kPanelRows; ++r) {
    for (int64_t c = 0; c < width; ++c) panel[c * kPanelRows + r] = r < count ? rows[r * row_stride + c] : 0;
  }
}

void score_panel(const float* queries, int64_t query_stride, int64_t width, const float* panel, float* scores,
                 int64_t score_stride) {
  static const ScorePanel best = best_score_panel();
  best(queries, query_stride, width, panel, scores, score_stride);
}

void score_pairs(const float* query, const float* const* rows, int64_t count, int64_t width, float* scores) {
  static const ScoreEight score_eight = best_score_eight();
  for (int64_t first = 0; first < count; first += 8) {
    const int64_t some = std::min<int64_t>(8, count - first);
    const float* eight[8];
    for (int64_t i = 0; i < 8; ++i) eight[i] = rows[first + std::min(i, some - 1)];
    float sums[8];
    score_eight(query, eight, width, sums);
    std::copy(sums, sums + some, scores + first);
  }
}

MUSTER_CLONES void mix_scores(float* a, float* b, int64_t count, float row_a, float row_b, const float* column_a,
                              const float* column_b) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float first = a[i], second = b[i];
    a[i] = std::fma(row_b, second, row_a * first);
    b[i] = std::fma(column_b[i], second, column_a[i] * first);
  }
}

MUSTER_CLONES int64_t count_greater(const float* scores, int64_t count, float threshold) {
  int32_t greater = 0;
#pragma omp simd reduction(+ : greater)
  for (int64_t i = 0; i < count; ++i) greater += scores[i] > threshold ? 1 : 0;
  return greater;
}

MUSTER_CLONES int64_t count_greater_equal(const float* scores, int64_t count, float threshold) {
  int32_t greater = 0;
#pragma omp simd reduction(+ : greater)
  for (int64_t i = 0; i < count; ++i) greater += scores[i] >= threshold ? 1 : 0;
  return greater;
}

MUSTER_CLONES void count_strip(const float* scores, int64_t score_stride, int64_t queries, const float* thresholds,
                               int64_t lists, uint32_t* counts) {
  for (int64_t k = 0; k < lists; ++k, thresholds += kStripColumns, counts += kStripColumns) {
    int32_t sums[kStripColumns] = {};
    for (int64_t q = 0; q < queries; ++q) {
      const float* row = scores + q * score_stride;
#pragma omp simd
      for (int64_t c = 0; c < kStripColumns; ++c) sums[c] += row[c] >= thresholds[c] ? 1 : 0;
    }
    for (int64_t c = 0; c < kStripColumns; ++c) counts[c] += static_cast<uint32_t>(sums[c]);
  }
}

}  // namespace muster
