#include "dataloader/synth/synth.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "dataloader/image.h"
#include "dataloader/importers/ordered_workers.h"
#include "dataloader/synth/camera.h"
#include "dataloader/synth/caption.h"
#include "dataloader/synth/dice.h"
#include "dataloader/synth/figure.h"
#include "dataloader/synth/scene.h"
#include "launch/error.h"

namespace muster::synth {
namespace {

constexpr int64_t kMostIdentities = 100'000'000;
constexpr int64_t kMostViews = 1'000'000;
constexpr int kSmallestSide = 16, kLargestSide = 2048;
static_assert(kMostViews <= kMaxViews);

void check_range(const char* what, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    throw ConfigError(fmt::format("{} is {}; it must be {} to {}", what, value, low, high));
}

void check(const Options& o) {
  check_range("--identities", o.identities, 1, kMostIdentities);
  check_range("--views", o.views, 1, kMostViews);
  check_range("--width", o.width, kSmallestSide, kLargestSide);
  check_range("--height", o.height, kSmallestSide, kLargestSide);
  const bool sane = o.val_fraction >= 0 && o.test_fraction >= 0 && o.val_fraction + o.test_fraction < 1;
  if (!sane) {
    throw ConfigError(
        fmt::format("--val-fraction {} and --test-fraction {} must be 0 or more, and less than 1 together",
                    o.val_fraction, o.test_fraction));
  }
}

int64_t share_of(int64_t identities, double fraction) {
  if (fraction <= 0) return 0;
  return std::max<int64_t>(std::llround(static_cast<double>(identities) * fraction), 1);
}

Image paint(const Person& person, const View& view, int width, int height) {
  Canvas canvas(width, height);
  draw_place(canvas, view);
  draw_person(canvas, person, view);
  draw_occluder(canvas, view);
  return expose(canvas, view);
}

}  // namespace

std::vector<Split> make_splits(const Options& o) {
  check(o);
  const int64_t val = share_of(o.identities, o.val_fraction), test = share_of(o.identities, o.test_fraction);
  if (val + test >= o.identities) {
    throw ConfigError(
        fmt::format("--identities {} leaves none for training beside {} for val and {} for test; give more "
                    "identities or smaller fractions",
                    o.identities, val, test));
  }
  std::vector<std::pair<uint64_t, int64_t>> order(static_cast<size_t>(o.identities));
  for (int64_t i = 0; i < o.identities; ++i) {
    order[static_cast<size_t>(i)] = {Dice(o.seed, static_cast<uint64_t>(i), Stream::kSplit).bits(), i};
  }
  std::sort(order.begin(), order.end());
  std::vector<Split> splits(order.size(), Split::kTrain);
  for (int64_t rank = 0; rank < val + test; ++rank) {
    splits[static_cast<size_t>(order[static_cast<size_t>(rank)].second)] = rank < test ? Split::kTest : Split::kVal;
  }
  return splits;
}

Set::Set(const Options& options) : options_(options), splits_(make_splits(options)) {}

StoreRecord Set::record(int64_t image) const {
  const int64_t identity = image / options_.views, index = image % options_.views;
  const Person person = make_person(options_.seed, identity);
  const View view = make_view(options_.seed, identity, index, person);
  StoreRecord record;
  record.identity = fmt::format("{:06}", identity);
  record.source_path = fmt::format("images/{:06}_{:02}.jpg", identity, index);
  record.width = options_.width;
  record.height = options_.height;
  record.split = split(identity);
  record.image = encode_jpeg(paint(person, view, options_.width, options_.height), view.jpeg_quality);
  for (int i = 0; i < kCaptionsPerImage; ++i) {
    record.captions.push_back(write_caption(options_.seed, identity, index, i, person, view).text);
  }
  return record;
}

void for_each_record(int64_t images, int threads, const std::function<StoreRecord(int64_t)>& make,
                     const std::function<void(const StoreRecord&)>& sink) {
  // Enough to keep the threads busy, little enough to hold in memory.
  constexpr int64_t kBatch = 32;
  OrderedWorkers<std::vector<StoreRecord>> workers(threads);
  int64_t next = 0;
  while (next < images || workers.pending() > 0) {
    while (next < images && workers.pending() < static_cast<size_t>(threads) * 2) {
      const int64_t first = next, last = std::min(next + kBatch, images);
      workers.push([&make, first, last] {
        std::vector<StoreRecord> records;
        for (int64_t i = first; i < last; ++i) records.push_back(make(i));
        return records;
      });
      next = last;
    }
    for (const StoreRecord& record : workers.pop()) sink(record);
  }
}

void Set::for_each(int threads, const std::function<void(const StoreRecord&)>& sink) const {
  for_each_record(
      images(), threads, [this](int64_t image) { return record(image); }, sink);
}

}  // namespace muster::synth
