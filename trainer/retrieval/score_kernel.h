// Dot products whose bits depend on the two rows alone.
//
// A score is one chain of fused multiply-adds in column order: s = 0; s = fma(q[c], g[c], s) for c = 0 .. width-1.
// Every function here keeps that chain, so a pair scored alone equals the same pair scored in any tile, on any CPU. A
// BLAS promises neither. No torch headers: this file compiles in a second.
#pragma once

#include <cstdint>

namespace muster {

inline constexpr int64_t kPanelRows = 32;  // gallery rows scored together
inline constexpr int64_t kGroupRows = 12;  // queries scored together
inline constexpr int64_t kStripColumns = 16;

// 1 / max(|row|, 1e-12), summed in double; NaN if anything in the row is not finite.
double inverse_norm(const float* row, int64_t width);

// unit[c] = row[c] * scale, rounded once.
void scale_row(const float* row, double scale, int64_t width, float* unit);

// panel[c * kPanelRows + r] = rows[r * row_stride + c]; rows from `count` on are zero.
void pack_panel(const float* rows, int64_t row_stride, int64_t count, int64_t width, float* panel);

// scores[q * score_stride + r] for kGroupRows queries and the kPanelRows rows of a panel.
void score_panel(const float* queries, int64_t query_stride, int64_t width, const float* panel, float* scores,
                 int64_t score_stride);

// scores[i] = query . rows[i].
void score_pairs(const float* query, const float* const* rows, int64_t count, int64_t width, float* scores);

// scores[i] = query . rows[i] in another order, many times as fast for pairs that lie anywhere: sums over columns c
// with the same c % 16, each a chain, then added in pairs 8 apart, 4, 2, 1. The same bits on any CPU, other ones than
// above.
void lane_products(const float* query, const float* const* rows, int64_t count, int64_t width, float* scores);

// The k-th greatest of scores[0 .. count), 1 <= k <= count; none is NaN.
float kth_greatest(const float* scores, int64_t count, int64_t k);

// Moves the entries whose score is greater than the threshold, and the first `equal` of those that equal it, to the
// front, in their order.
void keep_at_least(float* scores, uint32_t* items, int64_t count, float threshold, int64_t equal);

// Two scores a[i], b[i] of a pair become its score for the query of its row and for that of its column, in place:
// a[i] = fma(row_b, b[i], row_a * a[i]), b[i] = fma(column_b[i], b[i], column_a[i] * a[i]).
void mix_scores(float* a, float* b, int64_t count, float row_a, float row_b, const float* column_a,
                const float* column_b);

// How many of scores[0 .. count) are greater than (or equal to) the threshold.
int64_t count_greater(const float* scores, int64_t count, float threshold);
int64_t count_greater_equal(const float* scores, int64_t count, float threshold);

// Which of scores[0 .. count) are greater than the threshold (than thresholds[i]): found[0 ..], ascending; how many.
// There is room for `count`.
int64_t find_greater(const float* scores, int64_t count, float threshold, uint32_t* found);
int64_t find_greater_each(const float* scores, const float* thresholds, int64_t count, uint32_t* found);

// counts[k * kStripColumns + c] += how many of scores[q * score_stride + c], q < queries, are at least
// thresholds[k * kStripColumns + c]; for kStripColumns columns c and k < lists.
void count_strip(const float* scores, int64_t score_stride, int64_t queries, const float* thresholds, int64_t lists,
                 uint32_t* counts);

// The variants score_panel() chooses from, best first, for the test that they agree. Null where the CPU lacks it.
using ScorePanel = void (*)(const float*, int64_t, int64_t, const float*, float*, int64_t);
struct ScorePanelVariants {
  ScorePanel avx512;
  ScorePanel avx2;
  ScorePanel portable;
};
ScorePanelVariants score_panel_variants();

}  // namespace muster
