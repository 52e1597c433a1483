#include "dataloader/sample_list.h"

#include <algorithm>

#include "dataloader/random.h"

namespace muster {

SampleList::SampleList(const Store& store, Split split, DataConfig::Captions captions)
    : store_(store), every_caption_(captions == DataConfig::EVERY_CAPTION) {
  int64_t samples = 0;
  for (const int64_t image : store.images_of(split)) {
    const int64_t count = store.caption_count(image);
    if (count == 0) {
      ++images_without_caption_;
      continue;
    }
    images_.push_back(image);
    if (every_caption_) first_sample_.push_back(samples);
    samples += count;
  }
  if (every_caption_) first_sample_.push_back(samples);
}

int64_t SampleList::size() const {
  return every_caption_ ? first_sample_.back() : static_cast<int64_t>(images_.size());
}

Sample SampleList::at(int64_t number, uint64_t seed, int64_t position) const {
  if (every_caption_) {
    const auto after = std::upper_bound(first_sample_.begin(), first_sample_.end(), number);
    const auto i = static_cast<size_t>(after - first_sample_.begin() - 1);
    return {images_[i], store_.first_caption(images_[i]) + number - first_sample_[i]};
  }
  const int64_t image = images_[static_cast<size_t>(number)];
  KeyedRandom random(seed, static_cast<uint64_t>(position), Purpose::kCaptionChoice);
  const uint64_t choice = random.next_below(static_cast<uint64_t>(store_.caption_count(image)));
  return {image, store_.first_caption(image) + static_cast<int64_t>(choice)};
}

UniformSampler make_sampler(const Store& store, Split split, const DataConfig& data, int64_t global_batch,
                            uint64_t seed) {
  return UniformSampler(SampleList(store, split, data.captions()).size(), global_batch, seed);
}

}  // namespace muster
