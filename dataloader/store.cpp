#include "dataloader/store.h"

#include <sys/stat.h>

#include <cstring>
#include <stdexcept>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/file.h"
#include "dataloader/formats/hashes.h"
#include "dataloader/store_manifest.h"
#include "dataloader/store_shard.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kMaxManifestBytes = size_t{1} << 26;
constexpr uint64_t kBoxBytes = 4 * sizeof(float);
constexpr char kManifestName[] = "manifest.textproto";

std::string read_manifest_text(const std::string& folder) {
  const auto exists = [](const std::string& path) {
    struct stat status {};
    return stat(path.c_str(), &status) == 0;
  };
  const std::string path = folder + "/" + kManifestName;
  if (!exists(folder) && exists(folder + ".partial")) {
    throw DataError("there is no store at " + folder + ": " + folder +
                    ".partial was left by an import that is still running or was stopped; run the import again");
  }
  if (!exists(path))
    throw DataError("there is no store at " + folder + ": " + path + " is missing; make one with muster import");
  return read_file(path, kMaxManifestBytes);
}

// Where one image's bytes are.
struct ImagePlace {
  uint32_t shard = 0;
  uint64_t begin = 0;  // in the shard's file
  uint64_t bytes = 0;
  uint64_t hash = 0;
};

// Where the regions of one image are.
struct RegionPlace {
  uint64_t features = 0, boxes = 0;  // in the shard's file
  uint64_t count = 0;
  uint64_t hash = 0;
};

}  // namespace

std::string split_name(Split split) {
  switch (split) {
    case Split::kTrain:
      return "train";
    case Split::kVal:
      return "val";
    case Split::kTest:
      return "test";
  }
  throw std::logic_error("unknown Split");
}

Split split_from_name(const std::string& name) {
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    if (split_name(split) == name) return split;
  }
  throw ConfigError("unknown split \"" + name + "\"; use train, val or test");
}

class Store::Impl {
 public:
  explicit Impl(const std::string& folder) : path(folder) {
    const std::string text = read_manifest_text(path);
    manifest = parse_store_manifest(text, path + "/" + kManifestName);
    fingerprint = xxh3_128_hex(text.data(), text.size());
    for (const StoreShard& shard : manifest.shard()) {
      take(shard, read_shard(path, shard, {images(), static_cast<int64_t>(identity_names.size())},
                             manifest.regions().width()));
      files.emplace_back(path + "/" + shard.file());
      shards.push_back({shard.file(), shard.bytes(), shard.images(), shard.captions()});
    }
  }

  int64_t images() const { return static_cast<int64_t>(places.size()); }

  // Callers' mistakes are caught rather than read beyond a table.
  size_t row(int64_t index, size_t size, const char* what) const {
    if (index < 0 || static_cast<size_t>(index) >= size) {
      throw std::out_of_range(std::string("there is no ") + what + " " + std::to_string(index) + " in " + path);
    }
    return static_cast<size_t>(index);
  }
  uint64_t region_feature_bytes() const { return static_cast<uint64_t>(manifest.regions().width()) * sizeof(uint16_t); }
  size_t image(int64_t index) const { return row(index, places.size(), "image"); }

  std::string path, fingerprint;
  StoreManifest manifest;
  std::vector<InputFile> files;
  std::vector<ShardFile> shards;
  // One element an image.
  std::vector<ImagePlace> places;
  std::vector<RegionPlace> region_places;  // none without regions
  std::vector<int32_t> widths, heights;
  std::vector<int64_t> identities;
  std::vector<uint8_t> splits;
  StringTable paths;
  std::vector<int64_t> first_captions{0};  // and one more at the end
  std::vector<int64_t> images_of[3];
  StringTable captions;
  std::vector<std::string> identity_names;

 private:
  void take(const StoreShard& shard, const ShardTables& tables) {
    const auto shard_index = static_cast<uint32_t>(files.size());
    size_t next_caption = 0;
    for (size_t i = 0; i < tables.images(); ++i) {
      const uint64_t begin = tables.image_offsets[i];
      images_of[tables.splits[i]].push_back(images());
      places.push_back(
          {shard_index, shard.image_blob_begin() + begin, tables.image_offsets[i + 1] - begin, tables.image_hashes[i]});
      const size_t first = next_caption;
      while (next_caption < tables.captions.size() && tables.caption_images[next_caption] == static_cast<int64_t>(i))
        ++next_caption;
      first_captions.push_back(first_captions.back() + static_cast<int64_t>(next_caption - first));
    }
    for (size_t i = 0; i < tables.region_hashes.size(); ++i) {
      const uint64_t first = tables.region_offsets[i];
      region_places.push_back({shard.region_features().begin() + first * region_feature_bytes(),
                               shard.region_boxes().begin() + first * kBoxBytes, tables.region_offsets[i + 1] - first,
                               tables.region_hashes[i]});
    }
    widths.insert(widths.end(), tables.widths.begin(), tables.widths.end());
    heights.insert(heights.end(), tables.heights.begin(), tables.heights.end());
    identities.insert(identities.end(), tables.identities.begin(), tables.identities.end());
    splits.insert(splits.end(), tables.splits.begin(), tables.splits.end());
    paths.append(tables.paths);
    captions.append(tables.captions);
    for (size_t i = 0; i < tables.identity_names.size(); ++i) identity_names.emplace_back(tables.identity_names[i]);
  }
};

Store::Store(const std::string& path) : impl_(std::make_unique<Impl>(path)) {}
Store::~Store() = default;

const std::string& Store::path() const {
  return impl_->path;
}
int64_t Store::images() const {
  return impl_->images();
}
int64_t Store::captions() const {
  return static_cast<int64_t>(impl_->captions.size());
}
int64_t Store::identities() const {
  return static_cast<int64_t>(impl_->identity_names.size());
}

const std::vector<int64_t>& Store::images_of(Split split) const {
  return impl_->images_of[static_cast<size_t>(split)];
}
Split Store::split(int64_t image) const {
  return static_cast<Split>(impl_->splits[impl_->image(image)]);
}
int64_t Store::identity(int64_t image) const {
  return impl_->identities[impl_->image(image)];
}

const std::string& Store::identity_name(int64_t identity) const {
  return impl_->identity_names[impl_->row(identity, impl_->identity_names.size(), "identity")];
}

std::string Store::source_path(int64_t image) const {
  return std::string(impl_->paths[impl_->image(image)]);
}

std::string Store::caption(int64_t caption) const {
  return std::string(impl_->captions[impl_->row(caption, impl_->captions.size(), "caption")]);
}

int32_t Store::width(int64_t image) const {
  return impl_->widths[impl_->image(image)];
}
int32_t Store::height(int64_t image) const {
  return impl_->heights[impl_->image(image)];
}
int64_t Store::image_size(int64_t image) const {
  return static_cast<int64_t>(impl_->places[impl_->image(image)].bytes);
}
int64_t Store::first_caption(int64_t image) const {
  return impl_->first_captions[impl_->image(image)];
}

int64_t Store::caption_count(int64_t image) const {
  const size_t row = impl_->image(image);
  return impl_->first_captions[row + 1] - impl_->first_captions[row];
}

std::vector<uint8_t> Store::image_bytes(int64_t image) const {
  const ImagePlace& place = impl_->places[impl_->image(image)];
  const InputFile& file = impl_->files[place.shard];
  std::vector<uint8_t> bytes(place.bytes);
  file.read(bytes.data(), bytes.size(), place.begin);
  if (xxh3_64(bytes.data(), bytes.size()) != place.hash) {
    throw DataError(file.path() + ": image " + std::to_string(image) + " (" + source_path(image) +
                    ") does not match its hash; copy the file again or import again");
  }
  return bytes;
}

bool Store::has_regions() const {
  return impl_->manifest.has_regions();
}
int64_t Store::region_width() const {
  return impl_->manifest.regions().width();
}
const std::string& Store::region_extractor() const {
  return impl_->manifest.regions().extractor();
}
int64_t Store::region_count(int64_t image) const {
  const size_t row = impl_->image(image);
  return has_regions() ? static_cast<int64_t>(impl_->region_places[row].count) : 0;
}

void Store::read_regions(int64_t image, uint16_t* features, float* boxes) const {
  if (!has_regions()) throw std::logic_error("read_regions() of a store without regions: " + path());
  const size_t row = impl_->image(image);
  const RegionPlace& place = impl_->region_places[row];
  const InputFile& file = impl_->files[impl_->places[row].shard];
  const uint64_t feature_bytes = place.count * impl_->region_feature_bytes(), box_bytes = place.count * kBoxBytes;
  std::vector<char> bytes(feature_bytes + box_bytes);
  file.read(bytes.data(), feature_bytes, place.features);
  file.read(bytes.data() + feature_bytes, box_bytes, place.boxes);
  if (xxh3_64(bytes.data(), bytes.size()) != place.hash) {
    throw DataError(file.path() + ": the regions of image " + std::to_string(image) + " (" + source_path(image) +
                    ") do not match their hash; copy the file again or import again");
  }
  std::memcpy(features, bytes.data(), feature_bytes);
  std::memcpy(boxes, bytes.data() + feature_bytes, box_bytes);
}

void Store::verify() const {
  for (const StoreShard& shard : impl_->manifest.shard()) verify_structure(path(), shard);
  std::vector<uint16_t> features;
  std::vector<float> boxes;
  for (int64_t image = 0; image < images(); ++image) {
    image_bytes(image);
    if (!has_regions()) continue;
    features.resize(static_cast<size_t>(region_count(image) * region_width()));
    boxes.resize(static_cast<size_t>(region_count(image)) * 4);
    read_regions(image, features.data(), boxes.data());
  }
}

const std::vector<Store::ShardFile>& Store::shards() const {
  return impl_->shards;
}
const std::string& Store::fingerprint() const {
  return impl_->fingerprint;
}

}  // namespace muster
