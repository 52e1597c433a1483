// What the samples of a split are: numbers 0 .. size()-1 to image and caption.
#pragma once

#include <cstdint>
#include <vector>

#include "dataloader/dataloader.pb.h"
#include "dataloader/sampler.h"
#include "dataloader/store.h"

namespace muster {

struct Sample {
  int64_t image = 0;  // the store's numbers
  int64_t caption = 0;
};

// Immutable after construction: any number of threads. The store must outlive it.
class SampleList {
 public:
  // Images without captions are left out.
  SampleList(const Store& store, Split split, DataConfig::Captions captions);

  int64_t size() const;
  // The caption of RANDOM_CAPTION is chosen by (seed, position); EVERY_CAPTION's is fixed.
  Sample at(int64_t number, uint64_t seed, int64_t position) const;

  int64_t images_without_caption() const { return images_without_caption_; }

 private:
  const Store& store_;
  bool every_caption_;
  std::vector<int64_t> images_;
  std::vector<int64_t> first_sample_;  // of images_[i], when every caption is a sample; one more entry: the end
  int64_t images_without_caption_ = 0;
};

// The order of a split's samples. ConfigError: the split has fewer samples than one global batch.
UniformSampler make_sampler(const Store& store, Split split, const DataConfig& data, int64_t global_batch,
                            uint64_t seed);

}  // namespace muster
