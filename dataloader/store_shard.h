// One shard of a store: an HDF5 file of images and what belongs to them. dataloader/README.md lists the datasets.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/store.h"
#include "dataloader/store.pb.h"

namespace muster {

// Strings end to end in one blob: string i is bytes [offsets[i], offsets[i + 1]).
struct StringTable {
  std::string bytes;
  std::vector<uint64_t> offsets{0};

  size_t size() const { return offsets.size() - 1; }
  std::string_view operator[](size_t i) const {
    return std::string_view(bytes).substr(offsets[i], offsets[i + 1] - offsets[i]);
  }
  void add(std::string_view text);
  void append(const StringTable& other);
};

// Everything of a shard but the images' bytes. n images, m captions, k new identities.
struct ShardTables {
  std::vector<uint64_t> image_offsets{0};  // [n + 1] into the image blob
  std::vector<uint64_t> image_hashes;      // [n] XXH3-64
  std::vector<int32_t> widths, heights;    // [n]
  std::vector<int64_t> image_ids;          // [n] numbers in the whole store, consecutive
  std::vector<int64_t> identities;         // [n] numbers in the whole store
  std::vector<uint8_t> splits;             // [n] Split
  StringTable paths;                       // n
  StringTable captions;                    // m, grouped by image
  std::vector<int64_t> caption_images;     // [m] row of the image in this shard, ascending
  StringTable identity_names;              // k: names of the identities that are new in this shard, in number order

  // Of images with regions; else empty.
  int64_t region_width = 0;
  std::vector<uint64_t> region_offsets;  // [n + 1] rows of the regions' tables
  std::vector<uint64_t> region_hashes;   // [n] hash_of_regions()

  size_t images() const { return image_hashes.size(); }
  uint64_t image_bytes() const { return image_offsets.back(); }
  uint64_t regions() const { return region_offsets.empty() ? 0 : region_offsets.back(); }
};

// Bytes of a region's features and box.
inline uint64_t region_row_bytes(uint64_t width) {
  return width * sizeof(uint16_t) + 4 * sizeof(float);
}

// XXH3-64 of an image's features followed by its boxes.
uint64_t hash_of_regions(const ImageRegions& regions);

// Where the images' own bytes go: each kind end to end, as often and as many at a time as one likes.
struct ShardSinks {
  ByteSink images;
  ByteSink region_features;
  ByteSink region_boxes;
};

// Writes FOLDER/FILE, fsyncs it, and describes it; write_images(sinks) hands over the images. DataError: disk full.
StoreShard write_shard(const std::string& folder, const std::string& file, const ShardTables& tables,
                       const std::function<void(const ShardSinks& sinks)>& write_images);

// Where in the store a shard begins.
struct ShardStart {
  int64_t images = 0;
  int64_t identities = 0;
};

// XXH3-128 of the shard's file around the blob is what the manifest says. DataError: missing, truncated, damaged.
void verify_structure(const std::string& folder, const StoreShard& shard);

// Verifies the structure, then reads and checks the tables. region_width: the manifest's, 0 without regions.
ShardTables read_shard(const std::string& folder, const StoreShard& shard, const ShardStart& start,
                       int64_t region_width = 0);

}  // namespace muster
