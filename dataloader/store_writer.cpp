#include <algorithm>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/file.h"
#include "dataloader/formats/hashes.h"
#include "dataloader/partial_folder.h"
#include "dataloader/store.h"
#include "dataloader/store_manifest.h"
#include "dataloader/store_shard.h"
#include "launch/error.h"

namespace muster {

// A contiguous dataset needs its size when it is created, so a shard's images go to a spool file first and are copied
// into the shard when it is closed: memory holds the tables of one shard only.
class Spool {
 public:
  explicit Spool(std::string path) : path_(std::move(path)) {}

  void write(const void* data, size_t size) {
    if (!file_) file_.emplace(path_);
    file_->write(data, size);
  }

  void copy_to(const ByteSink& sink) {
    if (!file_) return;
    file_.reset();
    const InputFile spool(path_);
    std::vector<char> piece(size_t{1} << 20);
    for (uint64_t at = 0; at < spool.size();) {
      const size_t count = std::min<uint64_t>(piece.size(), spool.size() - at);
      spool.read(piece.data(), count, at);
      sink(piece.data(), count);
      at += count;
    }
  }

  void remove() {
    file_.reset();
    std::remove(path_.c_str());
  }

 private:
  std::string path_;
  std::optional<OutputFile> file_;
};

class StoreWriter::Impl {
 public:
  Impl(const std::string& path, const Options& options)
      : options_(options),
        folder_(path),
        images_(folder_.folder() + "/images.spool"),
        features_(folder_.folder() + "/region_features.spool"),
        boxes_(folder_.folder() + "/region_boxes.spool") {
    if (options.region_width < 0 || options.region_width > kMostRegionWidth) {
      throw std::logic_error("StoreWriter: regions cannot have " + std::to_string(options.region_width) + " numbers");
    }
    if (options.region_width == 0) return;
    manifest_.mutable_regions()->set_width(options.region_width);
    manifest_.mutable_regions()->set_extractor(options.region_extractor);
  }

  void add(const StoreRecord& record) {
    if (finished_) throw std::logic_error("StoreWriter::add() after finish()");
    const bool has_image = !record.image.empty() || options_.region_width > 0;
    if (!has_image || record.width <= 0 || record.height <= 0) {
      throw std::logic_error("StoreWriter::add() needs a decoded image: " + record.source_path);
    }
    check_regions(record);
    images_.write(record.image.data(), record.image.size());
    const auto row = static_cast<int64_t>(tables_.images());
    if (options_.region_width > 0) add_regions(record.regions);
    tables_.image_offsets.push_back(tables_.image_bytes() + record.image.size());
    tables_.image_hashes.push_back(xxh3_64(record.image.data(), record.image.size()));
    tables_.widths.push_back(record.width);
    tables_.heights.push_back(record.height);
    tables_.image_ids.push_back(manifest_.images() + row);
    tables_.identities.push_back(number_of(record.identity));
    tables_.splits.push_back(static_cast<uint8_t>(record.split));
    tables_.paths.add(record.source_path);
    for (const std::string& caption : record.captions) {
      tables_.captions.add(caption);
      tables_.caption_images.push_back(row);
    }
    const auto width = static_cast<uint64_t>(options_.region_width);
    const uint64_t bytes = tables_.image_bytes() + tables_.regions() * region_row_bytes(width);
    if (bytes > static_cast<uint64_t>(options_.shard_bytes)) close_shard();
  }

  void finish() {
    if (finished_) throw std::logic_error("StoreWriter::finish() twice");
    if (tables_.images() > 0) close_shard();
    if (manifest_.images() == 0) throw DataError("no image was given, so no store is made");
    write_file_atomically(folder_.folder() + "/manifest.textproto", format_store_manifest(manifest_));
    folder_.publish();
    finished_ = true;
  }

  void discard() {
    remove_spools();
    folder_.discard();
  }

 private:
  int64_t number_of(const std::string& identity) {
    const auto [place, is_new] = identity_numbers_.emplace(identity, static_cast<int64_t>(identity_numbers_.size()));
    if (is_new) tables_.identity_names.add(identity);
    return place->second;
  }

  void check_regions(const StoreRecord& record) const {
    const ImageRegions& regions = record.regions;
    const auto count = regions.boxes.size() / 4;
    const bool good = options_.region_width == 0
                          ? regions.features.empty() && regions.boxes.empty()
                          : count > 0 && regions.boxes.size() % 4 == 0 &&
                                regions.features.size() == count * static_cast<size_t>(options_.region_width);
    if (!good)
      throw std::logic_error("StoreWriter::add() got other regions than its options say: " + record.source_path);
  }

  void add_regions(const ImageRegions& regions) {
    features_.write(regions.features.data(), regions.features.size() * sizeof(uint16_t));
    boxes_.write(regions.boxes.data(), regions.boxes.size() * sizeof(float));
    if (tables_.region_offsets.empty()) tables_.region_offsets.push_back(0);
    tables_.region_width = options_.region_width;
    tables_.region_offsets.push_back(tables_.regions() + static_cast<uint64_t>(regions.count()));
    tables_.region_hashes.push_back(hash_of_regions(regions));
  }

  void remove_spools() {
    for (Spool* spool : {&images_, &features_, &boxes_}) spool->remove();
  }

  void close_shard() {
    char file[32];
    std::snprintf(file, sizeof file, "shard-%05d.h5", manifest_.shard_size());
    const StoreShard shard = write_shard(folder_.folder(), file, tables_, [&](const ShardSinks& sinks) {
      images_.copy_to(sinks.images);
      features_.copy_to(sinks.region_features);
      boxes_.copy_to(sinks.region_boxes);
    });
    add_shard(manifest_, shard);
    tables_ = ShardTables();
    remove_spools();
  }

  Options options_;
  PartialFolder folder_;
  Spool images_, features_, boxes_;
  ShardTables tables_;
  StoreManifest manifest_;
  std::unordered_map<std::string, int64_t> identity_numbers_;
  bool finished_ = false;
};

StoreWriter::StoreWriter(const std::string& path, const Options& options)
    : impl_(std::make_unique<Impl>(path, options)) {}
StoreWriter::~StoreWriter() = default;

void StoreWriter::add(const StoreRecord& record) {
  impl_->add(record);
}

void StoreWriter::finish() {
  try {
    impl_->finish();
  } catch (...) {
    impl_->discard();
    throw;
  }
}

}  // namespace muster
