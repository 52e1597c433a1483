// Keyed random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//
// Every random choice in Muster is a pure function of (seed, position, purpose, counter): `position` is the sample's
// position in the global sample stream, `purpose` says what the number is for. No generator has state, so nothing is
// saved, and results do not depend on ranks, threads or chunks.
#pragma once

#include <array>
#include <cstdint>

namespace muster {

// Purposes in use. Dropout layers add their index to kDropout.
enum class Purpose : uint32_t {
  kSampler = 1,
  kCaptionChoice = 2,
  kAugmentation = 3,
  kInitialisation = 4,
  kSynth = 5,
  kSamplerPlan = 6,
  kResizedCrop = 7,
  kColorJitter = 8,
  kGrey = 9,
  kErasing = 10,
  kWordDeletion = 11,
  kTokenMask = 12,
  kReferenceOrder = 13,
  kReferenceValues = 14,
  kMaskedWords = 15,
  kImageMask = 16,
  kPruning = 17,
  kCleanPairs = 18,
  kHoldout = 32,
  kDropout = 0x10000,
};

std::array<uint32_t, 4> philox4x32(const std::array<uint32_t, 4>& counter, const std::array<uint32_t, 2>& key);

// A stream of numbers for one (seed, position, purpose). Cheap to make; copy it freely. Not for threads to share.
class KeyedRandom {
 public:
  KeyedRandom(uint64_t seed, uint64_t position, uint32_t purpose);
  KeyedRandom(uint64_t seed, uint64_t position, Purpose purpose)
      : KeyedRandom(seed, position, static_cast<uint32_t>(purpose)) {}

  uint32_t next_u32();
  uint64_t next_u64();
  // Uniform in [0, 1) with 24 and 53 bits.
  float next_float();
  double next_double();
  // Uniform in [0, bound), exact (no modulo bias); bound > 0.
  uint64_t next_below(uint64_t bound);
  // Standard normal (Box-Muller).
  double next_normal();

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace muster
