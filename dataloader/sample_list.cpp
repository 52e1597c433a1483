#include "dataloader/sample_list.h"

#include <fmt/format.h>

#include <algorithm>

#include "dataloader/random.h"
#include "launch/error.h"

namespace muster {
namespace {

Split to_split(int split) {
  return split == DataConfig::VAL ? Split::kVal : Split::kTrain;
}

std::vector<int64_t> images_in_splits(const Store& store, const DataConfig& data) {
  if (data.train_splits().empty()) return store.images_of(Split::kTrain);
  std::vector<int64_t> images;
  for (const int split : data.train_splits()) {
    const std::vector<int64_t>& more = store.images_of(to_split(split));
    images.insert(images.end(), more.begin(), more.end());
  }
  std::sort(images.begin(), images.end());
  return images;
}

}  // namespace

bool trains_on_val(const DataConfig& data) {
  const auto& splits = data.train_splits();
  return std::find(splits.begin(), splits.end(), DataConfig::VAL) != splits.end();
}

SampleList::SampleList(const TrainingStores& stores, const DataConfig& data)
    : every_caption_(data.captions() == DataConfig::EVERY_CAPTION) {
  for (const TrainingStores::Share& share : stores.shares()) parts_.push_back(make_part(share, data));
  if (size_ == 0) {
    throw DataError(
        fmt::format("{}: no image to train on has a caption (data.train_splits; {} images); see muster "
                    "inspect {}",
                    stores.describe(), images_without_caption_, stores.first().path()));
  }
}

SampleList::Part SampleList::make_part(const TrainingStores::Share& share, const DataConfig& data) {
  Part part{share, size_, {}, {}};
  for (const int64_t image : images_in_splits(*share.store, data)) {
    const int64_t captions = share.store->caption_count(image);
    if (captions == 0) {
      ++images_without_caption_;
      continue;
    }
    part.images.push_back(image);
    part.first_sample.push_back(size_);
    size_ += every_caption_ ? captions : 1;
  }
  part.first_sample.push_back(size_);
  return part;
}

Sample SampleList::at(int64_t number, uint64_t seed, int64_t position) const {
  const auto next_part = std::upper_bound(parts_.begin(), parts_.end(), number, [](int64_t wanted, const Part& part) {
    return wanted < part.first_sample.back();
  });
  const Part& part = *next_part;
  const auto after = std::upper_bound(part.first_sample.begin(), part.first_sample.end(), number);
  const auto i = static_cast<size_t>(after - part.first_sample.begin() - 1);
  const Store& store = *part.share.store;
  const int64_t image = part.images[i];
  int64_t caption = number - part.first_sample[i];
  if (!every_caption_) {
    KeyedRandom random(seed, static_cast<uint64_t>(position), Purpose::kCaptionChoice);
    caption = static_cast<int64_t>(random.next_below(static_cast<uint64_t>(store.caption_count(image))));
  }
  return {&store, image, store.first_caption(image) + caption, part.share.first_image + image,
          part.share.first_identity + store.identity(image)};
}

std::vector<SampleRange> SampleList::ranges() const {
  std::vector<SampleRange> ranges;
  for (const Part& part : parts_) ranges.push_back({part.first_sample.back() - part.first, part.share.repeats});
  return ranges;
}

template <typename Key>
SampleGroups SampleList::group_by(int64_t keys, const Key& key) const {
  std::vector<int64_t> count(static_cast<size_t>(keys)), repeats(static_cast<size_t>(keys));
  const auto for_each_image = [&](const auto& body) {
    for (const Part& part : parts_) {
      for (size_t i = 0; i < part.images.size(); ++i) body(part, i, static_cast<size_t>(key(part, part.images[i])));
    }
  };
  for_each_image([&](const Part& part, size_t i, size_t group) {
    count[group] += part.first_sample[i + 1] - part.first_sample[i];
    repeats[group] = part.share.repeats;
  });
  SampleGroups groups;
  std::vector<int64_t> next(static_cast<size_t>(keys));  // where the group's next sample goes
  for (size_t group = 0; group < count.size(); ++group) {
    next[group] = groups.begin.back();
    if (count[group] == 0) continue;
    groups.begin.push_back(groups.begin.back() + count[group]);
    groups.repeats.push_back(repeats[group]);
  }
  groups.sample.resize(static_cast<size_t>(size_));
  for_each_image([&](const Part& part, size_t i, size_t group) {
    for (int64_t sample = part.first_sample[i]; sample < part.first_sample[i + 1]; ++sample) {
      groups.sample[static_cast<size_t>(next[group]++)] = sample;
    }
  });
  return groups;
}

std::vector<int64_t> SampleList::identities() const {
  std::vector<int64_t> identities;
  for (const Part& part : parts_) {
    for (const int64_t image : part.images) {
      identities.push_back(part.share.first_identity + part.share.store->identity(image));
    }
  }
  std::sort(identities.begin(), identities.end());
  identities.erase(std::unique(identities.begin(), identities.end()), identities.end());
  return identities;
}

SampleGroups SampleList::by_identity() const {
  const TrainingStores::Share& last = parts_.back().share;
  return group_by(last.first_identity + last.store->identities(), [](const Part& part, int64_t image) {
    return part.share.first_identity + part.share.store->identity(image);
  });
}

SampleGroups SampleList::by_image() const {
  const TrainingStores::Share& last = parts_.back().share;
  return group_by(last.first_image + last.store->images(),
                  [](const Part& part, int64_t image) { return part.share.first_image + image; });
}

}  // namespace muster
