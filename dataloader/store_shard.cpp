#include "dataloader/store_shard.h"

#include <algorithm>
#include <stdexcept>

#include "dataloader/formats/file.h"
#include "dataloader/formats/hashes.h"
#include "dataloader/hdf5_file.h"
#include "dataloader/store_manifest.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr uint64_t kBoxNumbers = 4;
constexpr uint64_t kStructureSlack = 65536;  // HDF5's own headers of a shard, generously

template <typename T>
uint64_t bytes_of(const std::vector<T>& values) {
  return values.size() * sizeof(T);
}

uint64_t bytes_of(const StringTable& table) {
  return table.bytes.size() + bytes_of(table.offsets);
}

uint64_t table_bytes(const ShardTables& t) {
  return bytes_of(t.image_offsets) + bytes_of(t.image_hashes) + bytes_of(t.widths) + bytes_of(t.heights) +
         bytes_of(t.image_ids) + bytes_of(t.identities) + bytes_of(t.splits) + bytes_of(t.paths) +
         bytes_of(t.captions) + bytes_of(t.caption_images) + bytes_of(t.identity_names) + bytes_of(t.region_offsets) +
         bytes_of(t.region_hashes);
}

std::vector<ByteRange> structure_ranges(const StoreShard& shard) {
  std::vector<ByteRange> ranges = {{0, 0}};
  for (const ByteRange& blob : blobs_of(shard)) {
    ranges.back().end = blob.begin;
    ranges.push_back({blob.end, blob.end});
  }
  ranges.back().end = shard.bytes();
  return ranges;
}

void check(bool good, const std::string& path, const std::string& what) {
  if (!good) throw DataError(path + ": " + what + "; it was not written by Muster: import again");
}

void check_offsets(const std::vector<uint64_t>& offsets, uint64_t bytes, const std::string& path,
                   const std::string& name) {
  check(offsets.front() == 0 && offsets.back() == bytes && std::is_sorted(offsets.begin(), offsets.end()), path,
        name + " is not an ascending list of offsets");
}

StringTable read_strings(const Hdf5Reader& file, const std::string& name, int64_t count, const std::string& path) {
  StringTable table;
  table.offsets = file.read<uint64_t>(name + "_offsets", static_cast<uint64_t>(count) + 1);
  table.bytes = file.read_bytes(name + "_bytes");
  check_offsets(table.offsets, table.bytes.size(), path, name + "_offsets");
  return table;
}

void check_region_tables(const Hdf5Reader& file, const StoreShard& shard, int64_t width, const std::string& path) {
  const auto check_place = [&](const std::string& name, const StoreExtent& place, Hdf5Type type, uint64_t columns) {
    const Hdf5Extent found = file.table_extent(name, type, region_rows(shard), columns);
    check(found.begin == place.begin() && found.begin + found.bytes == place.end(), path,
          name + " lies elsewhere than the manifest says");
  };
  check_place("regions/features", shard.region_features(), Hdf5Type::kFloat16, static_cast<uint64_t>(width));
  check_place("regions/boxes", shard.region_boxes(), Hdf5Type::kFloat32, kBoxNumbers);
}

void check_tables(const ShardTables& t, const StoreShard& shard, const ShardStart& start, const std::string& path) {
  const int64_t identities = start.identities + shard.identities();
  check_offsets(t.image_offsets, shard.image_blob_end() - shard.image_blob_begin(), path, "images/offsets");
  for (size_t i = 0; i < t.images(); ++i) {
    check(t.image_ids[i] == start.images + static_cast<int64_t>(i), path, "images/id does not count upwards");
    check(t.identities[i] >= 0 && t.identities[i] < identities, path, "images/identity names an unknown identity");
    check(t.splits[i] <= 2, path, "images/split names an unknown split");
    check(t.widths[i] > 0 && t.heights[i] > 0, path, "images/width or images/height is not positive");
  }
  const auto& rows = t.caption_images;
  const bool rows_good =
      std::is_sorted(rows.begin(), rows.end()) && (rows.empty() || (rows.front() >= 0 && rows.back() < shard.images()));
  check(rows_good, path, "captions/image is not an ascending list of images");
  if (t.region_offsets.empty()) return;
  check_offsets(t.region_offsets, region_rows(shard), path, "regions/offsets");
  const auto& offsets = t.region_offsets;
  check(std::adjacent_find(offsets.begin(), offsets.end()) == offsets.end(), path,
        "regions/offsets has an image without regions");
}

}  // namespace

void StringTable::add(std::string_view text) {
  bytes.append(text);
  offsets.push_back(bytes.size());
}

void StringTable::append(const StringTable& other) {
  const uint64_t base = bytes.size();
  bytes += other.bytes;
  for (size_t i = 1; i < other.offsets.size(); ++i) offsets.push_back(base + other.offsets[i]);
}

uint64_t hash_of_regions(const ImageRegions& regions) {
  std::string bytes(reinterpret_cast<const char*>(regions.features.data()), bytes_of(regions.features));
  bytes.append(reinterpret_cast<const char*>(regions.boxes.data()), bytes_of(regions.boxes));
  return xxh3_64(bytes.data(), bytes.size());
}

namespace {

// The part of a file that a dataset was given.
class BlobWriter {
 public:
  BlobWriter(const std::string& path, const Hdf5Extent& extent) : file_(path, extent.begin), bytes_(extent.bytes) {}

  ByteSink sink() {
    return [this](const void* data, size_t size) { file_.write(data, size); };
  }
  void finish() {
    if (file_.size() != bytes_) throw std::logic_error("write_shard() got other images than its tables");
    file_.finish();
  }

 private:
  OutputFile file_;
  uint64_t bytes_;
};

void set_extent(StoreExtent& to, const Hdf5Extent& extent) {
  to.set_begin(extent.begin);
  to.set_end(extent.begin + extent.bytes);
}

}  // namespace

StoreShard write_shard(const std::string& folder, const std::string& file, const ShardTables& tables,
                       const std::function<void(const ShardSinks& sinks)>& write_images) {
  const std::string path = folder + "/" + file;
  const bool has_regions = tables.region_width > 0;
  const auto width = static_cast<uint64_t>(tables.region_width);
  const uint64_t region_bytes = tables.regions() * region_row_bytes(width);
  Hdf5Writer hdf5(path, tables.image_bytes() + region_bytes + table_bytes(tables) + kStructureSlack);
  const auto write_strings = [&](const std::string& name, const StringTable& table) {
    hdf5.write_bytes(name + "_bytes", table.bytes);
    hdf5.write(name + "_offsets", table.offsets);
  };
  hdf5.create_group("images");
  hdf5.write("images/offsets", tables.image_offsets);
  hdf5.write("images/xxh3", tables.image_hashes);
  hdf5.write("images/width", tables.widths);
  hdf5.write("images/height", tables.heights);
  hdf5.write("images/id", tables.image_ids);
  hdf5.write("images/identity", tables.identities);
  hdf5.write("images/split", tables.splits);
  write_strings("images/path", tables.paths);
  hdf5.create_group("captions");
  write_strings("captions/text", tables.captions);
  hdf5.write("captions/image", tables.caption_images);
  hdf5.create_group("identities");
  write_strings("identities/name", tables.identity_names);
  const Hdf5Extent blob = hdf5.reserve_bytes("images/bytes", tables.image_bytes());
  Hdf5Extent features, boxes;
  if (has_regions) {
    hdf5.create_group("regions");
    hdf5.write("regions/offsets", tables.region_offsets);
    hdf5.write("regions/xxh3", tables.region_hashes);
    features = hdf5.reserve_table("regions/features", Hdf5Type::kFloat16, tables.regions(), width);
    boxes = hdf5.reserve_table("regions/boxes", Hdf5Type::kFloat32, tables.regions(), kBoxNumbers);
  }
  hdf5.close();
  BlobWriter images(path, blob), region_features(path, features), region_boxes(path, boxes);
  write_images({images.sink(), region_features.sink(), region_boxes.sink()});
  images.finish();
  region_features.finish();
  region_boxes.finish();

  StoreShard shard;
  shard.set_file(file);
  shard.set_bytes(InputFile(path).size());
  shard.set_image_blob_begin(blob.begin);
  shard.set_image_blob_end(blob.begin + blob.bytes);
  if (has_regions) {
    set_extent(*shard.mutable_region_features(), features);
    set_extent(*shard.mutable_region_boxes(), boxes);
  }
  shard.set_structure_xxh3(xxh3_128_hex_of_ranges(InputFile(path), structure_ranges(shard)));
  shard.set_images(static_cast<int64_t>(tables.images()));
  shard.set_captions(static_cast<int64_t>(tables.captions.size()));
  shard.set_identities(static_cast<int64_t>(tables.identity_names.size()));
  return shard;
}

void verify_structure(const std::string& folder, const StoreShard& shard) {
  const InputFile file(folder + "/" + shard.file());
  if (file.size() != shard.bytes()) {
    throw DataError(file.path() + " has " + std::to_string(file.size()) + " bytes, the manifest says " +
                    std::to_string(shard.bytes()) + "; copy it again or import again");
  }
  if (xxh3_128_hex_of_ranges(file, structure_ranges(shard)) != shard.structure_xxh3()) {
    throw DataError(file.path() + ": its structure is damaged (the hash differs); copy it again or import again");
  }
}

ShardTables read_shard(const std::string& folder, const StoreShard& shard, const ShardStart& start,
                       int64_t region_width) {
  verify_structure(folder, shard);
  const std::string path = folder + "/" + shard.file();
  const Hdf5Reader hdf5(path, shard.bytes());
  const auto n = static_cast<uint64_t>(shard.images());
  const Hdf5Extent blob = hdf5.extent("images/bytes", Hdf5Type::kUint8);
  check(blob.begin == shard.image_blob_begin() && blob.begin + blob.bytes == shard.image_blob_end(), path,
        "images/bytes lies elsewhere than the manifest says");
  if (region_width > 0) check_region_tables(hdf5, shard, region_width, path);
  ShardTables tables;
  tables.image_offsets = hdf5.read<uint64_t>("images/offsets", n + 1);
  tables.image_hashes = hdf5.read<uint64_t>("images/xxh3", n);
  tables.widths = hdf5.read<int32_t>("images/width", n);
  tables.heights = hdf5.read<int32_t>("images/height", n);
  tables.image_ids = hdf5.read<int64_t>("images/id", n);
  tables.identities = hdf5.read<int64_t>("images/identity", n);
  tables.splits = hdf5.read<uint8_t>("images/split", n);
  tables.paths = read_strings(hdf5, "images/path", shard.images(), path);
  tables.captions = read_strings(hdf5, "captions/text", shard.captions(), path);
  tables.caption_images = hdf5.read<int64_t>("captions/image", static_cast<uint64_t>(shard.captions()));
  tables.identity_names = read_strings(hdf5, "identities/name", shard.identities(), path);
  if (region_width > 0) {
    tables.region_width = region_width;
    tables.region_offsets = hdf5.read<uint64_t>("regions/offsets", n + 1);
    tables.region_hashes = hdf5.read<uint64_t>("regions/xxh3", n);
  }
  check_tables(tables, shard, start, path);
  return tables;
}

}  // namespace muster
