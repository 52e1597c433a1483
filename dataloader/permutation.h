// A shuffled order of n things of which any place can be computed alone.
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

}  // namespace muster
