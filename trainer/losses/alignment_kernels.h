// The loops of alignment_engine.cpp over a tile of products a [regions, words], of one image's rows. No torch here.
//
// Products are of raw rows: a region's and a word's scale (1 / length, 0 for rows that count as zero) make cosines of
// them. Ties go to the lower index; a NaN in first place stays.
#pragma once

#include <cstdint>

namespace muster {

// best[w] = max over r of a[r][w] * scale[r]; `words` is also the row stride of a. At least one region.
void best_regions(const float* a, int64_t regions, int64_t words, const float* scale, float* best);
void best_regions(const double* a, int64_t regions, int64_t words, const double* scale, double* best);

// The same, and which region it is.
void best_regions(const float* a, int64_t regions, int64_t words, const float* scale, float* best, int32_t* region);
void best_regions(const double* a, int64_t regions, int64_t words, const double* scale, double* best, int32_t* region);

// to[w] = a[w] * scale[w].
void multiply(const float* a, int64_t words, const float* scale, float* to);
void multiply(const double* a, int64_t words, const double* scale, double* to);

// to[i] += factor * a[i].
void add_multiple(const float* a, int64_t count, float factor, float* to);
void add_multiple(const double* a, int64_t count, double factor, double* to);

}  // namespace muster
