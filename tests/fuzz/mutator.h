// Inputs near given ones, as a pure function of a seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace muster::fuzz {

class Mutator {
 public:
  // `seeds`: at least one.
  Mutator(std::vector<std::string> seeds, std::vector<std::string> words)
      : seeds_(std::move(seeds)), words_(std::move(words)) {}

  // One of the seeds with up to sixteen changes: bits flipped, bytes set, inserted, removed and doubled, another seed's
  // piece spliced in, the end cut off, words put in, numbers replaced by extreme ones. Run 0, 1, ... are the seeds
  // themselves. At most 1 MiB.
  std::string make(uint64_t seed, uint64_t run);

 private:
  void change(std::string& input);
  void replace_number(std::string& input);
  size_t below(size_t end) { return end == 0 ? 0 : random_() % end; }

  std::vector<std::string> seeds_, words_;
  std::mt19937_64 random_;
};

}  // namespace muster::fuzz
