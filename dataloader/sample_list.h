// What the samples of a run are: numbers 0 .. size()-1 to image and caption.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dataloader/dataloader.pb.h"
#include "dataloader/sampler.h"
#include "dataloader/training_stores.h"
#include "dataloader/uniform_sampler.h"

namespace muster {

struct Sample {
  const Store* store = nullptr;
  int64_t image = 0;  // the store's numbers
  int64_t caption = 0;
  int64_t run_image = 0;  // the run's: no two stores have one in common
  int64_t run_identity = 0;
};

// Whether val is among data.train_splits.
bool trains_on_val(const DataConfig& data);

// The images of data.train_splits (TRAIN if none is given) that have captions: one sample each, or with EVERY_CAPTION
// one for each caption. Store by store, in the stores' order. Immutable after construction: any number of threads. The
// stores must outlive it.
class SampleList {
 public:
  // DataError: there are none.
  SampleList(const TrainingStores& stores, const DataConfig& data);

  int64_t size() const { return size_; }
  // The caption of RANDOM_CAPTION is chosen by (seed, position); EVERY_CAPTION's is fixed.
  Sample at(int64_t number, uint64_t seed, int64_t position) const;

  // One range a store.
  std::vector<SampleRange> ranges() const;
  SampleGroups by_identity() const;
  SampleGroups by_image() const;
  // The images of a store that have samples, ascending; stores in their order.
  const std::vector<int64_t>& images_of(size_t store) const { return parts_[store].images; }

  // The run's numbers of all identities that have a sample, ascending.
  std::vector<int64_t> identities() const;

  // Images of the splits that are left out.
  int64_t images_without_caption() const { return images_without_caption_; }

 private:
  // The samples of one store.
  struct Part {
    TrainingStores::Share share;
    int64_t first = 0;  // number of its first sample
    std::vector<int64_t> images;
    std::vector<int64_t> first_sample;  // of images[i], one more entry: the end
  };

  Part make_part(const TrainingStores::Share& share, const DataConfig& data);
  // Samples under the same key(part, image), which counts up from 0 to below keys; no group is empty.
  template <typename Key>
  SampleGroups group_by(int64_t keys, const Key& key) const;

  bool every_caption_;
  std::vector<Part> parts_;
  int64_t size_ = 0;
  int64_t images_without_caption_ = 0;
};

}  // namespace muster
