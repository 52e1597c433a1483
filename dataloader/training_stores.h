// The stores that one run trains on, as one set of images and identities.
#pragma once

#include <string>
#include <vector>

#include "dataloader/store.h"

namespace muster {

class TrainingStores {
 public:
  // What a run takes of a store.
  struct Share {
    const Store* store = nullptr;
    // How often each of its samples stands in an epoch, at least 1.
    int64_t repeats = 1;
    // Added to the store's numbers, so that no two stores share an image or an identity, whatever their names.
    int64_t first_image = 0;
    int64_t first_identity = 0;
  };

  // Not explicit: one store is what most runs have. It must outlive this, as those that are added.
  TrainingStores(const Store& store, int64_t repeats = 1) { add(store, repeats); }
  // Behind those before it. std::logic_error: repeats below 1.
  void add(const Store& store, int64_t repeats);

  const std::vector<Share>& shares() const { return shares_; }
  // The one that is evaluated.
  const Store& first() const { return *shares_.front().store; }

  // What a checkpoint records of the data: a single store's own; else a hash over the stores' and their repeats, in
  // order.
  std::string fingerprint() const;
  // Their paths, for messages.
  std::string describe() const;

 private:
  std::vector<Share> shares_;
};

}  // namespace muster
