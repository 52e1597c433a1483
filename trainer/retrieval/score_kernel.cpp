#include "trainer/retrieval/score_kernel.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "trainer/function_clones.h"

#if defined(__x86_64__)
#include <immintrin.h>
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

MUSTER_CLONES("avx512f", "arch=haswell") void scale_row(const float* row, double scale, int64_t width, float* unit) {
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

MUSTER_CLONES("avx512f", "arch=haswell")
void mix_scores(float* a, float* b, int64_t count, float row_a, float row_b, const float* column_a,
                const float* column_b) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float first = a[i], second = b[i];
    a[i] = std::fma(row_b, second, row_a * first);
    b[i] = std::fma(column_b[i], second, column_a[i] * first);
  }
}

MUSTER_CLONES("avx512f", "arch=haswell") int64_t count_greater(const float* scores, int64_t count, float threshold) {
  int32_t greater = 0;
#pragma omp simd reduction(+ : greater)
  for (int64_t i = 0; i < count; ++i) greater += scores[i] > threshold ? 1 : 0;
  return greater;
}

MUSTER_CLONES("avx512f", "arch=haswell")
int64_t count_greater_equal(const float* scores, int64_t count, float threshold) {
  int32_t greater = 0;
#pragma omp simd reduction(+ : greater)
  for (int64_t i = 0; i < count; ++i) greater += scores[i] >= threshold ? 1 : 0;
  return greater;
}

// Four rows at once hide the latency of each chain.
MUSTER_CLONES("avx512f", "arch=haswell")
void lane_products(const float* query, const float* const* rows, int64_t count, int64_t width, float* scores) {
  constexpr int64_t kLanes = 16, kRows = 4;
  for (int64_t first = 0; first < count; first += kRows) {
    const int64_t some = std::min(kRows, count - first);
    const float* row[kRows];
    for (int64_t r = 0; r < kRows; ++r) row[r] = rows[first + std::min(r, some - 1)];
    float sums[kRows][kLanes] = {};
    int64_t c = 0;
    for (; c + kLanes <= width; c += kLanes) {
#pragma GCC unroll 4
      for (int64_t r = 0; r < kRows; ++r) {
#pragma omp simd
        for (int64_t lane = 0; lane < kLanes; ++lane) {
          sums[r][lane] = std::fma(query[c + lane], row[r][c + lane], sums[r][lane]);
        }
      }
    }
    for (; c < width; ++c) {
      for (int64_t r = 0; r < kRows; ++r) sums[r][c % kLanes] = std::fma(query[c], row[r][c], sums[r][c % kLanes]);
    }
    for (int64_t r = 0; r < some; ++r) {
      for (int64_t half = kLanes / 2; half > 0; half /= 2) {
        for (int64_t lane = 0; lane < half; ++lane) sums[r][lane] += sums[r][lane + half];
      }
      scores[first + r] = sums[r][0];
    }
  }
}

namespace {

// Integers in the order of floats; -0 comes before +0.
int32_t ordered(float value) {
  int32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits < 0 ? bits ^ 0x7fffffff : bits;
}

float from_ordered(int32_t bits) {
  bits = bits < 0 ? bits ^ 0x7fffffff : bits;
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

MUSTER_CLONES("avx512f", "arch=haswell") void extremes(const float* scores, int64_t count, float& least, float& most) {
  float low = least, high = most;
#pragma omp simd reduction(min : low) reduction(max : high)
  for (int64_t i = 0; i < count; ++i) {
    low = scores[i] < low ? scores[i] : low;
    high = scores[i] > high ? scores[i] : high;
  }
  least = low;
  most = high;
}

}  // namespace

// Without branches, which nobody could foretell.
void keep_at_least(float* scores, uint32_t* items, int64_t count, float threshold, int64_t equal) {
  int64_t kept = 0, equal_kept = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float score = scores[i];
    const int64_t greater = score > threshold, equals = (score == threshold) & (equal_kept < equal);
    scores[kept] = score;
    items[kept] = items[i];
    kept += greater | equals;
    equal_kept += equals;
  }
}

// The least value that fewer than k exceed, by halving; counting is what a CPU does fastest.
float kth_greatest(const float* scores, int64_t count, int64_t k) {
  float least = scores[0], most = scores[0];
  extremes(scores, count, least, most);
  int64_t low = ordered(least), high = ordered(most);
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (count_greater(scores, count, from_ordered(static_cast<int32_t>(middle))) < k) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return from_ordered(static_cast<int32_t>(low));
}

namespace {

// thresholds[i * step].
int64_t find_greater_portable(const float* scores, const float* thresholds, int64_t step, int64_t count,
                              uint32_t* found) {
  int64_t so_far = 0;
  for (int64_t i = 0; i < count; ++i) {
    found[so_far] = static_cast<uint32_t>(i);
    so_far += scores[i] > thresholds[i * step] ? 1 : 0;
  }
  return so_far;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) int64_t find_greater_avx512(const float* scores, const float* thresholds,
                                                               int64_t step, int64_t count, uint32_t* found) {
  int64_t so_far = 0, i = 0;
  for (__m512 threshold = _mm512_set1_ps(thresholds[0]); i + 16 <= count; i += 16) {
    if (step == 1) threshold = _mm512_loadu_ps(thresholds + i);
    uint32_t mask = _mm512_cmp_ps_mask(_mm512_loadu_ps(scores + i), threshold, _CMP_GT_OQ);
    for (; mask != 0; mask &= mask - 1) found[so_far++] = static_cast<uint32_t>(i + __builtin_ctz(mask));
  }
  const int64_t rest = find_greater_portable(scores + i, thresholds + i * step, step, count - i, found + so_far);
  for (int64_t k = so_far; k < so_far + rest; ++k) found[k] += static_cast<uint32_t>(i);
  return so_far + rest;
}
#endif

using FindGreater = int64_t (*)(const float*, const float*, int64_t, int64_t, uint32_t*);

FindGreater best_find_greater() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return find_greater_avx512;
#endif
  return find_greater_portable;
}

}  // namespace

int64_t find_greater(const float* scores, int64_t count, float threshold, uint32_t* found) {
  static const FindGreater best = best_find_greater();
  return count == 0 ? 0 : best(scores, &threshold, 0, count, found);
}

int64_t find_greater_each(const float* scores, const float* thresholds, int64_t count, uint32_t* found) {
  static const FindGreater best = best_find_greater();
  return count == 0 ? 0 : best(scores, thresholds, 1, count, found);
}

MUSTER_CLONES("avx512f", "arch=haswell")
void count_strip(const float* scores, int64_t score_stride, int64_t queries, const float* thresholds, int64_t lists,
                 uint32_t* counts) {
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
