// The synthetic pedestrian set: drawn people with captions, for demonstrations and tests.
//
// Every picture, caption and split is a pure function of (seed, identity, view): a larger set begins with the same
// people, and neither threads nor machines change a byte of the captions. Pictures are JPEG.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "dataloader/store.h"

namespace muster::synth {

struct Options {
  int64_t identities = 0;  // 1 .. 100,000,000
  int64_t views = 0;       // per identity, 1 .. 1,000,000
  uint64_t seed = 0;
  int width = 64, height = 128;  // 16 .. 2048
  // Shares of the identities; what remains is for training. A share above 0 gets one identity at least.
  double val_fraction = 0.1, test_fraction = 0.2;
};

constexpr int kCaptionsPerImage = 2;

// The split of each identity: exact shares of a keyed shuffle. ConfigError: an option is out of its range, or no
// identity is left for training.
std::vector<Split> make_splits(const Options& options);

// Hands make(0) .. make(images - 1) in order to `sink` on the calling thread; they are made on `threads` others.
void for_each_record(int64_t images, int threads, const std::function<StoreRecord(int64_t)>& make,
                     const std::function<void(const StoreRecord&)>& sink);

class Set {
 public:
  // ConfigError: an option is out of its range, or no identity is left for training.
  explicit Set(const Options& options);

  const Options& options() const { return options_; }
  int64_t images() const { return options_.identities * options_.views; }
  Split split(int64_t identity) const { return splits_[static_cast<size_t>(identity)]; }

  // Image number identity * views + view. Any thread.
  StoreRecord record(int64_t image) const;

  // Hands every record in order to `sink` on the calling thread; the pictures are drawn on `threads` others.
  void for_each(int threads, const std::function<void(const StoreRecord&)>& sink) const;

 private:
  Options options_;
  std::vector<Split> splits_;  // by identity
};

}  // namespace muster::synth
