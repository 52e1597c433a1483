// What the element-wise loops over tiles share. Included only by files without torch headers, whose loops the compiler
// must vectorise: plain functions marked MUSTER_VECTOR_CLONES, with everything they call inlined into them.
#pragma once

#include <cstdint>
#include <cstring>

#include "trainer/function_clones.h"

#define MUSTER_VECTOR_CLONES MUSTER_CLONES("arch=x86-64-v4", "arch=x86-64-v3")
#define MUSTER_INLINE [[gnu::always_inline]] inline

namespace muster {

// exp(x) for x <= 0 (and up to 80): relative error 1e-7, exactly 0 below -86.5, NaN stays NaN. Cody-Waite reduction and
// the polynomial of Cephes' expf. Unlike libm it costs the same where results underflow, which at scale 100 is usual.
MUSTER_INLINE float fast_exp(float x) {
  constexpr float kLowest = -86.5F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const float clamped = x < kLowest ? kLowest : x;
  const float shifted = clamped * 1.44269504088896341F + kRound;
  const float k = shifted - kRound;
  const float r = (clamped - k * 0.693359375F) + k * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1.0F;
  uint32_t bits;
  uint32_t exponent;
  std::memcpy(&bits, &p, sizeof(bits));
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  bits += exponent << 23;
  std::memcpy(&p, &bits, sizeof(p));
  return x < kLowest ? 0.0F : (x == x ? p : x);
}

// The same in double: relative error 3e-16, exactly 0 below -708. Taylor to degree 13 on |r| <= ln(2) / 2.
MUSTER_INLINE double fast_exp(double x) {
  constexpr double kLowest = -708.0;
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  const double clamped = x < kLowest ? kLowest : x;
  const double shifted = clamped * 1.4426950408889634074 + kRound;
  const double k = shifted - kRound;
  const double r = (clamped - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  uint64_t bits;
  uint64_t exponent;
  std::memcpy(&bits, &p, sizeof(bits));
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  bits += exponent << 52;
  std::memcpy(&p, &bits, sizeof(p));
  return x < kLowest ? 0.0 : (x == x ? p : x);
}

// log(1 + x) for 0 <= x <= 1, relative error 2e-7, NaN stays NaN: 2 artanh(z), z = x / (2 + x) <= 1/3, by its series.
MUSTER_INLINE float fast_log1p(float x) {
  const float z = x / (2.0F + x);
  const float q = z * z;
  float p = 1.0F / 15.0F;
  p = p * q + 1.0F / 13.0F;
  p = p * q + 1.0F / 11.0F;
  p = p * q + 1.0F / 9.0F;
  p = p * q + 1.0F / 7.0F;
  p = p * q + 1.0F / 5.0F;
  p = p * q + 1.0F / 3.0F;
  return 2.0F * (z + z * (q * p));
}

// The same in double: relative error 4e-16.
MUSTER_INLINE double fast_log1p(double x) {
  const double z = x / (2.0 + x);
  const double q = z * z;
  double p = 1.0 / 33.0;
  p = p * q + 1.0 / 31.0;
  p = p * q + 1.0 / 29.0;
  p = p * q + 1.0 / 27.0;
  p = p * q + 1.0 / 25.0;
  p = p * q + 1.0 / 23.0;
  p = p * q + 1.0 / 21.0;
  p = p * q + 1.0 / 19.0;
  p = p * q + 1.0 / 17.0;
  p = p * q + 1.0 / 15.0;
  p = p * q + 1.0 / 13.0;
  p = p * q + 1.0 / 11.0;
  p = p * q + 1.0 / 9.0;
  p = p * q + 1.0 / 7.0;
  p = p * q + 1.0 / 5.0;
  p = p * q + 1.0 / 3.0;
  return 2.0 * (z + z * (q * p));
}

}  // namespace muster
