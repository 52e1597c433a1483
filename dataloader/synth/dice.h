// Draws from a keyed stream: ranges, chances and weighted choices.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "dataloader/random.h"

namespace muster::synth {

// What a stream of numbers is for; none of them collides with muster::Purpose.
enum class Stream : uint32_t {
  kPerson = 0x105,
  kPersonViews = 0x205,  // what all views of a person share
  kView = 0x305,
  kScene = 0x405,
  kCaption = 0x505,
  kSplit = 0x605,
  kThings = 0x705,
  kRegions = 0x805,
  kRegionNoise = 0x905,
  kRegionCode = 0xa05,
  kSceneCaption = 0xb05,
};

// Views of one identity are numbered below this.
constexpr int64_t kMaxViews = int64_t{1} << 20;
inline uint64_t view_position(int64_t identity, int64_t view) {
  return static_cast<uint64_t>(identity) * static_cast<uint64_t>(kMaxViews) + static_cast<uint64_t>(view);
}

class Dice {
 public:
  Dice(uint64_t seed, uint64_t position, Stream stream) : random_(seed, position, static_cast<uint32_t>(stream)) {}

  float uniform(float low, float high) { return low + (high - low) * random_.next_float(); }
  bool chance(float probability) { return random_.next_float() < probability; }
  // 0 .. bound-1.
  int below(int bound) { return static_cast<int>(random_.next_below(static_cast<uint64_t>(bound))); }
  uint64_t bits() { return random_.next_u64(); }

  // An index, with probabilities in proportion to the weights.
  template <class Weights>
  int weighted(const Weights& weights) {
    float total = 0;
    for (const float w : weights) total += w;
    float left = random_.next_float() * total;
    int index = 0, last = 0;
    for (const float w : weights) {
      if (w > 0) last = index;
      if (w > 0 && left < w) return index;
      left -= w;
      ++index;
    }
    return last;
  }
  int weighted(std::initializer_list<float> weights) { return weighted<std::initializer_list<float>>(weights); }

  // As weighted(), for an enumeration that counts from 0.
  template <class Enum>
  Enum choose(std::initializer_list<float> weights) {
    return static_cast<Enum>(weighted(weights));
  }

 private:
  KeyedRandom random_;
};

}  // namespace muster::synth
