// Hands a target's seeds to libFuzzer, which starts from an empty input where it is given no folder of them.
#include <algorithm>
#include <cstring>

#include "tests/fuzz/target.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  if (size > 1 && seed % 1024 != 0) return LLVMFuzzerMutate(data, size, most);
  const std::vector<std::string> seeds = muster::fuzz::seeds();
  const std::string& chosen = seeds[seed / 1024 % seeds.size()];
  const size_t bytes = std::min(chosen.size(), most);
  std::memcpy(data, chosen.data(), bytes);
  return bytes;
}
