// One query against many rows, as fast as memory gives the rows.
//
// Scores are the chains of score_kernel.h: s = 0; s = fma(q[c], g[c], s) for c = 0 .. width-1, so a score has the bits
// that top_k() gives the same two rows. Rows lie in panels (pack_panel()), and each lane of a vector holds one row.
// Rows in float16 are widened, exactly, before they are multiplied. No torch headers.
#pragma once

#include <cstdint>

namespace muster {

// scores[p * kPanelRows + r] of `panels` panels that lie one after the other.
void score_query(const float* query, int64_t width, const float* panels, int64_t count, float* scores);
void score_query(const float* query, int64_t width, const uint16_t* panels, int64_t count, float* scores);

// What score_query() chooses from, best first, for the test that they agree. Null where the CPU lacks it.
template <typename Stored>
using ScoreQuery = void (*)(const float*, int64_t, const Stored*, int64_t, float*);
template <typename Stored>
struct ScoreQueryVariants {
  ScoreQuery<Stored> avx512;
  ScoreQuery<Stored> avx2;
  ScoreQuery<Stored> portable;
};
ScoreQueryVariants<float> score_query_variants();
ScoreQueryVariants<uint16_t> score_query_half_variants();

// The value of IEEE 754 binary16 bits.
float half_value(uint16_t bits);

}  // namespace muster
