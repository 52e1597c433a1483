#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/hashes.h"
#include "dataloader/importers/import_plan.h"
#include "dataloader/importers/import_state.h"
#include "dataloader/importers/importer.h"
#include "dataloader/importers/ordered_workers.h"
#include "dataloader/importers/region_source.h"
#include "dataloader/importers/row_loader.h"
#include "dataloader/partial_folder.h"
#include "dataloader/store_manifest.h"
#include "dataloader/text/printable.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kRowsAhead = 8;  // a thread; bounds the images in memory
constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
constexpr double kCheckingShare = 0.85;  // of the time, decoding against copying

// One rank's part of an import. The ranks take blocks of rows, then shards, in rounds; they meet after each.
class Import {
 public:
  Import(const ImportList& list, const std::string& folder, const ImportOptions& options, const ImportRanks& ranks)
      : list_(list),
        folder_(folder),
        options_(options),
        ranks_(ranks),
        loader_(list),
        blocks_(folder, list, options.block_rows),
        workers_(options.threads) {
    checked_.resize(list.rows.size());
  }

  // Decodes every row. DataError on every rank: the first row refused, unless bad ones are skipped.
  void check() {
    for (int64_t first = 0; first < blocks_.count(); first += ranks_.shard.size) {
      const int64_t block = first + ranks_.shard.rank;
      const int64_t refused = ranks_.lowest(block < blocks_.count() ? check_block(block) : kNone);
      if (refused != kNone && !options_.skip_bad) {
        std::optional<CheckedRows> rows = blocks_.load(refused / options_.block_rows);
        ranks_.lowest(0);  // all have read it, before the rank that owns the folder removes it
        take(refused / options_.block_rows, std::move(rows));
        throw DataError(checked_[static_cast<size_t>(refused)].refusal());
      }
    }
    for (int64_t block = 0; block < blocks_.count(); ++block) {
      if (block % ranks_.shard.size != ranks_.shard.rank) take(block, blocks_.load(block));
    }
  }

  void write() {
    plan_.emplace(list_, checked_, options_.shard_bytes);
    for (int64_t first = 0; first < plan_->shards(); first += ranks_.shard.size) {
      const int64_t shard = first + ranks_.shard.rank;
      if (shard < plan_->shards()) write_one(shard);
      ranks_.lowest(0);
      show_progress(static_cast<int64_t>(list_.rows.size()),
                    static_cast<double>(first + ranks_.shard.size) / static_cast<double>(plan_->shards()));
    }
  }

  // On one rank, after write() on all.
  void finish(PartialFolder& folder) const {
    StoreManifest manifest;
    if (list_.regions) {
      manifest.mutable_regions()->set_width(list_.regions->rules().width);
      manifest.mutable_regions()->set_extractor(list_.region_extractor);
    }
    std::set<std::string> files = {"manifest.textproto"};
    for (int64_t i = 0; i < plan_->shards(); ++i) {
      const std::optional<StoreShard> shard = find_written_shard(folder_, i, plan_->tables(i));
      if (!shard) throw DataError(folder_ + "/" + shard_file_name(i) + " is not what was written; import again");
      add_shard(manifest, *shard);
      files.insert(shard->file());
    }
    write_file_atomically(folder_ + "/manifest.textproto", format_store_manifest(manifest));
    folder.keep_only(files);
    folder.publish();
  }

  ImportReport report() const {
    ImportReport report = plan_->report();
    report.rows_checked_before = rows_checked_before_;
    return report;
  }

 private:
  CheckedRow check_row(const ImportRow& row) const {
    CheckedRow checked;
    try {
      if (!row.refusal.empty()) throw DataError(row.where + ": " + row.refusal);
      const std::vector<uint8_t> bytes = image_of(row);
      const RowLoader::Checked image = list_.has_images ? loader_.check(row, bytes) : RowLoader::Checked();
      if (image.complaints.count > 0) {
        checked.set_warning(printable(fmt::format("{}: {}: {}", row.where, row.image, image.complaints.first)));
        if (options_.strict) throw DataError(checked.warning() + ": replace the file or leave it out (--strict)");
      }
      checked.set_bytes(bytes.size());
      checked.set_xxh3(xxh3_64(bytes.data(), bytes.size()));
      checked.set_width(image.width);
      checked.set_height(image.height);
      if (list_.regions) check_regions_of(row, checked);
    } catch (const DataError& error) {
      checked.Clear();
      checked.set_refusal(printable(error.what()));
    }
    return checked;
  }

  std::vector<uint8_t> image_of(const ImportRow& row) const {
    return list_.has_images ? loader_.read(row) : std::vector<uint8_t>();
  }

  // The picture's size if there is one, else what the source says.
  ImageRegions regions_of(const ImportRow& row, CheckedRow& checked) const {
    try {
      RawRegions raw = list_.regions->read(row.region_item);
      if (list_.has_images) {
        raw.width = checked.width();
        raw.height = checked.height();
      }
      ImageRegions regions = check_regions(raw, list_.regions->rules());
      checked.set_width(raw.width);
      checked.set_height(raw.height);
      return regions;
    } catch (const DataError& error) {
      throw DataError(fmt::format("{}: regions of {}: {}", row.where, row.image, error.what()));
    }
  }

  void check_regions_of(const ImportRow& row, CheckedRow& checked) const {
    const ImageRegions regions = regions_of(row, checked);
    checked.set_regions(regions.count());
    checked.set_region_xxh3(hash_of_regions(regions));
  }

  // The first row refused, or kNone. A block that an earlier import checked is done again if it refused anything: the
  // files may have been repaired.
  int64_t check_block(int64_t block) {
    const std::optional<CheckedRows> before = blocks_.load(block);
    const bool good = before && std::all_of(before->row().begin(), before->row().end(), [&](const CheckedRow& row) {
                        return row.refusal().empty() && (!options_.strict || !row.has_warning());
                      });
    if (good) {
      rows_checked_before_ += before->row_size();
      keep(block, *before);
    } else {
      CheckedRows rows = decode_block(block);
      blocks_.save(block, rows);
      keep(block, std::move(rows));
    }
    show_progress(blocks_.end_row(block), 0);
    for (int64_t i = blocks_.first_row(block); i < blocks_.end_row(block); ++i) {
      if (!checked_[static_cast<size_t>(i)].refusal().empty()) return i;
    }
    return kNone;
  }

  CheckedRows decode_block(int64_t block) {
    CheckedRows rows;
    const int64_t first = blocks_.first_row(block);
    for (int64_t next = first; rows.row_size() < blocks_.end_row(block) - first;) {
      while (next < blocks_.end_row(block) && workers_.pending() < ahead()) {
        workers_.push([this, &row = list_.rows[static_cast<size_t>(next++)]] { return check_row(row); });
      }
      *rows.add_row() = workers_.pop();
      const bool refused = !rows.row(rows.row_size() - 1).refusal().empty();
      if (refused && !options_.skip_bad) finish_early(rows, blocks_.end_row(block) - first);
      show_progress(first + rows.row_size(), 0);
    }
    return rows;
  }

  // The import ends with this row: what comes after it in the block is not looked at.
  void finish_early(CheckedRows& rows, int64_t count) {
    while (workers_.pending() > 0) workers_.pop();
    while (rows.row_size() < count) rows.add_row()->set_refusal("not looked at");
  }

  void keep(int64_t block, CheckedRows rows) {
    for (int i = 0; i < rows.row_size(); ++i)
      checked_[static_cast<size_t>(blocks_.first_row(block) + i)] = std::move(*rows.mutable_row(i));
  }

  // Another rank's block, as it was loaded.
  void take(int64_t block, std::optional<CheckedRows> rows) {
    if (!rows) {
      throw DataError(
          fmt::format("rank {} cannot see what another rank wrote to {}; all ranks need the same list and "
                      "one file system",
                      ranks_.shard.rank, folder_));
    }
    keep(block, std::move(*rows));
  }

  void write_one(int64_t shard) {
    const ShardTables tables = plan_->tables(shard);
    if (find_written_shard(folder_, shard, tables)) return;
    const StoreShard description = write_shard(folder_, shard_file_name(shard), tables, [&](const ShardSinks& sinks) {
      copy_images(plan_->rows(shard), sinks);
    });
    note_written_shard(folder_, shard, tables, description);
  }

  // The images of these rows as they were when they were decoded.
  void copy_images(const std::vector<int64_t>& rows, const ShardSinks& sinks) {
    struct Copied {
      std::vector<uint8_t> image;
      ImageRegions regions;
    };
    OrderedWorkers<Copied> readers(options_.threads);
    size_t next = 0;
    for (const int64_t i : rows) {
      while (next < rows.size() && readers.pending() < ahead()) {
        readers.push([this, i = static_cast<size_t>(rows[next++])] {
          CheckedRow size = checked_[i];
          return Copied{image_of(list_.rows[i]), list_.regions ? regions_of(list_.rows[i], size) : ImageRegions()};
        });
      }
      const Copied copied = readers.pop();
      const std::vector<uint8_t>& bytes = copied.image;
      const CheckedRow& checked = checked_[static_cast<size_t>(i)];
      const bool same_regions = !list_.regions || hash_of_regions(copied.regions) == checked.region_xxh3();
      if (bytes.size() != checked.bytes() || xxh3_64(bytes.data(), bytes.size()) != checked.xxh3() || !same_regions) {
        blocks_.forget(i / options_.block_rows);
        throw DataError(list_.rows[static_cast<size_t>(i)].where + ": image " +
                        list_.rows[static_cast<size_t>(i)].image +
                        " changed while it was imported; run the import again");
      }
      sinks.images(bytes.data(), bytes.size());
      if (!list_.regions) continue;
      sinks.region_features(copied.regions.features.data(), copied.regions.features.size() * sizeof(uint16_t));
      sinks.region_boxes(copied.regions.boxes.data(), copied.regions.boxes.size() * sizeof(float));
    }
  }

  size_t ahead() const { return kRowsAhead * static_cast<size_t>(options_.threads); }

  void show_progress(int64_t rows, double written) const {
    const auto all = static_cast<double>(list_.rows.size());
    const double checked = std::min(1.0, static_cast<double>(rows) / all);
    options_.progress(kCheckingShare * checked + (1 - kCheckingShare) * std::min(1.0, written), rows);
  }

  const ImportList& list_;
  const std::string folder_;
  const ImportOptions& options_;
  const ImportRanks& ranks_;
  const RowLoader loader_;
  const CheckedBlocks blocks_;
  std::vector<CheckedRow> checked_;  // a row each
  int64_t rows_checked_before_ = 0;
  std::optional<ImportPlan> plan_;
  OrderedWorkers<CheckedRow> workers_;  // last: its threads use the rest
};

}  // namespace

ImportReport import_list(ImportList list, const std::string& out, const ImportOptions& options,
                         const ImportRanks& ranks) {
  refuse_duplicates(list);
  std::optional<PartialFolder> folder;
  if (ranks.shard.rank == 0) folder.emplace(out, PartialFolder::Leftovers::kKeep);
  ranks.lowest(0);
  Import import(list, partial_path(out), options, ranks);
  import.check();
  import.write();
  if (folder) import.finish(*folder);
  ranks.lowest(0);
  return import.report();
}

}  // namespace muster
