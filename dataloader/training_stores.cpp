#include "dataloader/training_stores.h"

#include <fmt/format.h>

#include <stdexcept>

#include "dataloader/formats/hashes.h"

namespace muster {

void TrainingStores::add(const Store& store, int64_t repeats) {
  if (repeats < 1) throw std::logic_error("TrainingStores: a store stands at least once in an epoch");
  Share share{&store, repeats, 0, 0};
  if (!shares_.empty()) {
    const Share& last = shares_.back();
    share.first_image = last.first_image + last.store->images();
    share.first_identity = last.first_identity + last.store->identities();
  }
  shares_.push_back(share);
}

std::string TrainingStores::fingerprint() const {
  if (shares_.size() == 1 && shares_[0].repeats == 1) return first().fingerprint();
  std::string lines;
  for (const Share& share : shares_) lines += fmt::format("{} {}\n", share.store->fingerprint(), share.repeats);
  return xxh3_128_hex(lines.data(), lines.size());
}

std::string TrainingStores::describe() const {
  std::string text;
  for (const Share& share : shares_) {
    if (!text.empty()) text += " + ";
    text += share.store->path();
    if (share.repeats > 1) text += fmt::format(":{}", share.repeats);
  }
  return text;
}

}  // namespace muster
