#include "tests/support/tiny_store.h"

#include <fmt/format.h>

#include "dataloader/image.h"
#include "dataloader/random.h"
#include "dataloader/store.h"

namespace muster {
namespace {

Image draw(int identity, int view) {
  KeyedRandom random(11, static_cast<uint64_t>(identity * 2 + view), Purpose::kSynth);
  Image image{24, 24, std::vector<uint8_t>(24 * 24 * 3)};
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    const int base = (identity * 37 + static_cast<int>(i % 3) * 101 + static_cast<int>(i / 600) * 53) % 200;
    image.pixels[i] = static_cast<uint8_t>(base + static_cast<int>(random.next_below(40)));
  }
  return image;
}

}  // namespace

void write_tiny_store(const std::string& path, int identities) {
  StoreWriter writer(path);
  for (int identity = 0; identity < identities; ++identity) {
    for (int view = 0; view < 2; ++view) {
      StoreRecord record;
      record.source_path = fmt::format("{}_{}.jpg", identity, view);
      record.image = encode_jpeg(draw(identity, view), 90);
      record.width = record.height = 24;
      record.captions = {fmt::format("a picture of thing number {} seen from side {}", identity, view),
                         fmt::format("thing {}", identity)};
      record.identity = fmt::format("thing {}", identity);
      record.split = identity >= identities - 2   ? Split::kVal
                     : identity >= identities - 4 ? Split::kTest
                                                  : Split::kTrain;
      writer.add(record);
    }
  }
  writer.finish();
}

void copy_store(const std::string& from, const std::string& to, const std::vector<int64_t>& images) {
  const Store store(from);
  StoreWriter writer(to);
  for (const int64_t image : images) {
    StoreRecord record;
    record.source_path = store.source_path(image);
    record.image = store.image_bytes(image);
    record.width = store.width(image);
    record.height = store.height(image);
    for (int64_t i = 0; i < store.caption_count(image); ++i) {
      record.captions.push_back(store.caption(store.first_caption(image) + i));
    }
    record.identity = store.identity_name(store.identity(image));
    record.split = store.split(image);
    writer.add(record);
  }
  writer.finish();
}

}  // namespace muster
