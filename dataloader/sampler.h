// Which sample stands at which place of the endless sample stream: a pure function, so nothing is saved or shuffled in
// memory, and any rank can compute any place.
#pragma once

#include <array>
#include <cstdint>

namespace muster {

// A bijection on [0, size), drawn by (seed, index): an alternating Feistel network over [0, a) x [0, b) with a * b just
// above size, Philox as its round function, walked on until it is back below size (Black and Rogaway, "Ciphers with
// arbitrary finite domains", CT-RSA 2002, methods 2 and 3). O(1) time and memory.
class Permutation {
 public:
  // size > 0; index tells permutations of one seed apart.
  Permutation(int64_t size, uint64_t seed, uint64_t index);
  int64_t operator()(int64_t place) const;  // place in [0, size)

 private:
  uint64_t size_;
  uint64_t rows_;
  uint64_t columns_;
  std::array<uint32_t, 2> key_;
};

// Every sample once an epoch, in an order that is another one each epoch. An epoch is a whole number of global batches:
// the samples that would fill only a part of one are left out, other ones each epoch.
class UniformSampler {
 public:
  // ConfigError: fewer samples than one global batch.
  UniformSampler(int64_t samples, int64_t global_batch, uint64_t seed);

  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  // position = step * global_batch + place in the global batch, from 0 on without end; the epoch is
  // step / steps_per_epoch(). Gives a number in [0, samples).
  int64_t sample(int64_t position) const;

 private:
  int64_t samples_;
  int64_t global_batch_;
  uint64_t seed_;
  int64_t steps_per_epoch_;
};

}  // namespace muster
