#include "trainer/encoders/keyed_fill.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "trainer/function_clones.h"

namespace muster {
namespace {

constexpr int kBlocks = kFillBlock / 4;  // Philox blocks of four words

// Integer arithmetic only: every copy gives the same bits.
#define MUSTER_INTEGER_CLONES MUSTER_CLONES("arch=x86-64-v4", "arch=x86-64-v3")

// Philox4x32-10 of kBlocks counters {first + i, purpose, stream}: words[j * kBlocks + i] is word j of block i.
MUSTER_INTEGER_CLONES
void philox_blocks(uint64_t seed, uint64_t stream, uint32_t purpose, uint32_t first, uint32_t* words) {
  const auto stream_low = static_cast<uint32_t>(stream);
  const auto stream_high = static_cast<uint32_t>(stream >> 32);
#pragma omp simd
  for (int i = 0; i < kBlocks; ++i) {
    uint32_t c0 = first + static_cast<uint32_t>(i), c1 = purpose, c2 = stream_low, c3 = stream_high;
    auto k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      const uint64_t product0 = uint64_t{0xD2511F53} * c0;
      const uint64_t product1 = uint64_t{0xCD9E8D57} * c2;
      c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ k0;
      c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ k1;
      c1 = static_cast<uint32_t>(product1);
      c3 = static_cast<uint32_t>(product0);
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    words[i] = c0;
    words[kBlocks + i] = c1;
    words[2 * kBlocks + i] = c2;
    words[3 * kBlocks + i] = c3;
  }
}

// [0, 1) with 24 bits.
inline float unit(uint32_t word) {
  return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24F;
}

// ln(x) for x in (0, 1]: Cephes' logf.
inline float natural_log(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  // The exponent that leaves a mantissa in [sqrt(1/2), sqrt(2)).
  const int32_t exponent = static_cast<int32_t>(bits - 0x3F3504F3) >> 23;
  bits -= static_cast<uint32_t>(exponent) << 23;
  float mantissa;
  std::memcpy(&mantissa, &bits, sizeof(mantissa));
  const float f = mantissa - 1.0F;
  float p = 7.0376836292e-2F;
  p = p * f - 1.1514610310e-1F;
  p = p * f + 1.1676998740e-1F;
  p = p * f - 1.2420140846e-1F;
  p = p * f + 1.4249322787e-1F;
  p = p * f - 1.6668057665e-1F;
  p = p * f + 2.0000714765e-1F;
  p = p * f - 2.4999993993e-1F;
  p = p * f + 3.3333331174e-1F;
  const float z = f * f;
  return f + (f * z * p - 0.5F * z) + static_cast<float>(exponent) * 0.693147180559945F;
}

// sin and cos of a turn's part u in [0, 1): Cephes' polynomials on an eighth of a turn.
inline void sine_cosine(float u, float* sine, float* cosine) {
  const auto quarter = static_cast<int32_t>(u * 4.0F + 0.5F);
  const float x = (u - static_cast<float>(quarter) * 0.25F) * 6.283185307179586F;
  const float z = x * x;
  const float s = x + x * z * (-1.6666654611e-1F + z * (8.3321608736e-3F - z * 1.9515295891e-4F));
  const float c =
      1.0F - 0.5F * z + z * z * (4.166664568298827e-2F + z * (-1.388731625493765e-3F + z * 2.443315711809948e-5F));
  const bool swap = (quarter & 1) != 0;
  const float first = swap ? c : s;
  const float second = swap ? s : c;
  *sine = (quarter & 2) != 0 ? -first : first;
  *cosine = ((quarter + 1) & 2) != 0 ? -second : second;
}

// Two words to two normals.
void box_muller(const uint32_t* words, float standard_deviation, float* out) {
#pragma omp simd
  for (int i = 0; i < 2 * kBlocks; ++i) {
    const float radius = standard_deviation * std::sqrt(-2.0F * natural_log(1.0F - unit(words[i])));
    float sine, cosine;
    sine_cosine(unit(words[2 * kBlocks + i]), &sine, &cosine);
    out[i] = radius * cosine;
    out[2 * kBlocks + i] = radius * sine;
  }
}

void scale_uniform(const uint32_t* words, float bound, float* out) {
#pragma omp simd
  for (int i = 0; i < kFillBlock; ++i) out[i] = (2.0F * unit(words[i]) - 1.0F) * bound;
}

MUSTER_INTEGER_CLONES
void keep_or_drop(const uint32_t* words, uint32_t threshold, float kept, float* out) {
#pragma omp simd
  for (int i = 0; i < kFillBlock; ++i) out[i] = words[i] < threshold ? 0.0F : kept;
}

// make(words, values) for each run of kFillBlock elements. Within a run the order is that of the planes, not of the
// words: it matters to nobody, and saves a transposition.
template <class Make>
void fill(const FillKey& key, float* out, int64_t size, const Make& make) {
  uint32_t words[kFillBlock];
  float values[kFillBlock];
  for (int64_t i = 0; i < size; i += kFillBlock) {
    philox_blocks(key.seed, key.stream, key.purpose, static_cast<uint32_t>((key.begin + i) / 4), words);
    const int64_t run = std::min(kFillBlock, size - i);
    make(words, run == kFillBlock ? out + i : values);
    if (run < kFillBlock) std::copy_n(values, run, out + i);
  }
}

}  // namespace

void fill_uniform(const FillKey& key, float bound, float* out, int64_t size) {
  fill(key, out, size, [&](const uint32_t* words, float* values) { scale_uniform(words, bound, values); });
}

void fill_normal(const FillKey& key, float standard_deviation, float* out, int64_t size) {
  fill(key, out, size, [&](const uint32_t* words, float* values) { box_muller(words, standard_deviation, values); });
}

void fill_dropout(const FillKey& key, double rate, float kept, float* out, int64_t size) {
  const auto threshold = static_cast<uint32_t>(rate * 4294967296.0);
  fill(key, out, size, [&](const uint32_t* words, float* values) { keep_or_drop(words, threshold, kept, values); });
}

}  // namespace muster
