#include <algorithm>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <unordered_map>

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
class StoreWriter::Impl {
 public:
  Impl(const std::string& path, const Options& options)
      : options_(options), folder_(path), spool_path_(folder_.folder() + "/images.spool") {
    manifest_.set_format_version(kStoreFormatVersion);
  }

  void add(const StoreRecord& record) {
    if (finished_) throw std::logic_error("StoreWriter::add() after finish()");
    if (record.image.empty() || record.width <= 0 || record.height <= 0) {
      throw std::logic_error("StoreWriter::add() needs a decoded image: " + record.source_path);
    }
    if (!spool_) spool_.emplace(spool_path_);
    spool_->write(record.image.data(), record.image.size());
    const auto row = static_cast<int64_t>(tables_.images());
    tables_.image_offsets.push_back(spool_->size());
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
    if (tables_.image_bytes() > static_cast<uint64_t>(options_.shard_bytes)) close_shard();
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
    spool_.reset();
    folder_.discard();
  }

 private:
  int64_t number_of(const std::string& identity) {
    const auto [place, is_new] = identity_numbers_.emplace(identity, static_cast<int64_t>(identity_numbers_.size()));
    if (is_new) tables_.identity_names.add(identity);
    return place->second;
  }

  void copy_spool(const ByteSink& sink) const {
    const InputFile spool(spool_path_);
    std::vector<char> piece(size_t{1} << 20);
    for (uint64_t at = 0; at < spool.size();) {
      const size_t count = std::min<uint64_t>(piece.size(), spool.size() - at);
      spool.read(piece.data(), count, at);
      sink(piece.data(), count);
      at += count;
    }
  }

  void close_shard() {
    spool_.reset();
    char file[32];
    std::snprintf(file, sizeof file, "shard-%05d.h5", manifest_.shard_size());
    const StoreShard shard =
        write_shard(folder_.folder(), file, tables_, [&](const ByteSink& sink) { copy_spool(sink); });
    *manifest_.add_shard() = shard;
    manifest_.set_images(manifest_.images() + shard.images());
    manifest_.set_captions(manifest_.captions() + shard.captions());
    manifest_.set_identities(manifest_.identities() + shard.identities());
    tables_ = ShardTables();
    std::remove(spool_path_.c_str());
  }

  Options options_;
  PartialFolder folder_;
  std::string spool_path_;
  std::optional<OutputFile> spool_;
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
