// Keyed random numbers by the array: the words of KeyedRandom (dataloader/random.h), many at a time.
//
// Elements [256 i, 256 i + 256) of an array come from blocks [64 i, 64 i + 64) of its stream, so a part of an array can
// be made by any thread. The same bits on every x86-64 CPU.
#pragma once

#include <cstdint>

namespace muster {

// A part of a stream: elements [begin, begin + size) of one array. `begin` is a multiple of kFillBlock.
constexpr int64_t kFillBlock = 256;
struct FillKey {
  uint64_t seed;
  uint64_t stream;  // which array: a tensor's number, a sample's position
  uint32_t purpose;
  int64_t begin;
};

// Uniform in [-bound, bound), 24 bits.
void fill_uniform(const FillKey& key, float bound, float* out, int64_t size);

// Normal with mean 0 (Box-Muller on 24 bits: nothing beyond 5.8 standard deviations).
void fill_normal(const FillKey& key, float standard_deviation, float* out, int64_t size);

// 0 with probability `rate` (to 2^-32), else `kept`.
void fill_dropout(const FillKey& key, double rate, float kept, float* out, int64_t size);

}  // namespace muster
