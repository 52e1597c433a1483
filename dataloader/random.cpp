#include "dataloader/random.h"

#include <cmath>

namespace muster {
namespace {

// The multipliers and the Weyl increments of Philox4x32 (Salmon et al., table 2 and section 3.3).
constexpr uint64_t kMultiplier0 = 0xD2511F53;
constexpr uint64_t kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9;
constexpr uint32_t kWeyl1 = 0xBB67AE85;
constexpr int kRounds = 10;

uint32_t low(uint64_t value) {
  return static_cast<uint32_t>(value);
}
uint32_t high(uint64_t value) {
  return static_cast<uint32_t>(value >> 32);
}

}  // namespace

std::array<uint32_t, 4> philox4x32(const std::array<uint32_t, 4>& counter, const std::array<uint32_t, 2>& key) {
  std::array<uint32_t, 4> c = counter;
  std::array<uint32_t, 2> k = key;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = kMultiplier0 * c[0];
    const uint64_t product1 = kMultiplier1 * c[2];
    c = {high(product1) ^ c[1] ^ k[0], low(product1), high(product0) ^ c[3] ^ k[1], low(product0)};
    k = {k[0] + kWeyl0, k[1] + kWeyl1};
  }
  return c;
}

// The counter's first word numbers the blocks of this stream: 2^34 words before it repeats.
KeyedRandom::KeyedRandom(uint64_t seed, uint64_t position, uint32_t purpose)
    : key_{low(seed), high(seed)}, counter_{0, purpose, low(position), high(position)} {}

uint32_t KeyedRandom::next_u32() {
  if (used_ == 4) {
    block_ = philox4x32(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return block_[static_cast<size_t>(used_++)];
}

uint64_t KeyedRandom::next_u64() {
  const uint64_t first = next_u32();
  return first | uint64_t{next_u32()} << 32;
}

float KeyedRandom::next_float() {
  return static_cast<float>(next_u32() >> 8) * 0x1p-24F;
}

double KeyedRandom::next_double() {
  return static_cast<double>(next_u64() >> 11) * 0x1p-53;
}

uint64_t KeyedRandom::next_below(uint64_t bound) {
  // 2^64 mod bound values are thrown away, so that each remainder is hit equally often.
  const uint64_t refused = (0 - bound) % bound;
  uint64_t value = next_u64();
  while (value < refused) value = next_u64();
  return value % bound;
}

double KeyedRandom::next_normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - next_double()));
  return radius * std::cos(6.283185307179586 * next_double());
}

}  // namespace muster
