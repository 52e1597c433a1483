#include "dataloader/importers/import_plan.h"

#include <fmt/format.h>

#include <unordered_map>

#include "dataloader/importers/region_source.h"
#include "launch/error.h"

namespace muster {
namespace {

void compare(const PublishedCounts& published, ImportReport& report) {
  const auto differ = [&](Split split, const char* what, int64_t here, int64_t there) {
    if (here != there && there != PublishedCounts::kUnknown) {
      report.differences.push_back(
          fmt::format("{} {}: {} here, {} in {} as published", split_name(split), what, here, there, published.name));
    }
  };
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    const ImportCounts& here = report.splits[static_cast<size_t>(split)];
    const ImportCounts& there = published.splits[static_cast<size_t>(split)];
    differ(split, "images", here.images, there.images);
    differ(split, "captions", here.captions, there.captions);
    differ(split, "identities", here.identities, there.identities);
  }
}

}  // namespace

ImportPlan::ImportPlan(const ImportList& list, const std::vector<CheckedRow>& checked, int64_t shard_bytes)
    : list_(list),
      checked_(checked),
      region_width_(list.regions ? list.regions->rules().width : 0),
      identities_(list.rows.size(), -1) {
  refuse_if_nothing_is_left();
  std::unordered_map<std::string_view, int64_t> numbers;
  int64_t images = 0;
  uint64_t bytes = 0;
  bool open = false;
  for (size_t i = 0; i < list.rows.size(); ++i) {
    if (!checked[i].refusal().empty()) continue;
    if (!open) shards_.push_back({{}, {images, identity_count_}});
    const auto [number, is_new] = numbers.emplace(list.rows[i].identity, identity_count_);
    identity_count_ += is_new ? 1 : 0;
    identities_[i] = number->second;
    shards_.back().rows.push_back(static_cast<int64_t>(i));
    ++images;
    bytes = (open ? bytes : 0) + checked[i].bytes() +
            static_cast<uint64_t>(checked[i].regions()) * region_row_bytes(static_cast<uint64_t>(region_width_));
    open = bytes <= static_cast<uint64_t>(shard_bytes);
  }
}

void ImportPlan::refuse_if_nothing_is_left() const {
  for (const CheckedRow& row : checked_) {
    if (row.refusal().empty()) return;
  }
  throw DataError(
      fmt::format("all {} rows were refused, the first because of {}", checked_.size(), checked_.front().refusal()));
}

ShardTables ImportPlan::tables(int64_t shard) const {
  const PlannedShard& planned = shards_[static_cast<size_t>(shard)];
  ShardTables tables;
  tables.region_width = region_width_;
  if (region_width_ > 0) tables.region_offsets.push_back(0);
  int64_t next_identity = planned.start.identities;
  for (const int64_t i : planned.rows) {
    const ImportRow& row = list_.rows[static_cast<size_t>(i)];
    const CheckedRow& checked = checked_[static_cast<size_t>(i)];
    const auto place = static_cast<int64_t>(tables.images());
    tables.image_offsets.push_back(tables.image_offsets.back() + checked.bytes());
    tables.image_hashes.push_back(checked.xxh3());
    tables.widths.push_back(checked.width());
    tables.heights.push_back(checked.height());
    tables.image_ids.push_back(planned.start.images + place);
    tables.identities.push_back(identities_[static_cast<size_t>(i)]);
    tables.splits.push_back(static_cast<uint8_t>(row.split));
    tables.paths.add(row.image);
    if (tables.identities.back() == next_identity) {
      tables.identity_names.add(row.identity);
      ++next_identity;
    }
    if (region_width_ > 0) {
      tables.region_offsets.push_back(tables.region_offsets.back() + static_cast<uint64_t>(checked.regions()));
      tables.region_hashes.push_back(checked.region_xxh3());
    }
    for (const std::string& caption : row.captions) {
      tables.captions.add(caption);
      tables.caption_images.push_back(place);
    }
  }
  return tables;
}

ImportReport ImportPlan::report() const {
  ImportReport report;
  report.warnings = list_.warnings;
  std::vector<uint8_t> seen_in(static_cast<size_t>(identity_count_));  // bit s: in split s
  for (size_t i = 0; i < checked_.size(); ++i) {
    if (identities_[i] < 0) {
      report.refused.push_back(checked_[i].refusal());
      continue;
    }
    if (checked_[i].has_warning()) report.complaints.push_back(checked_[i].warning());
    const ImportRow& row = list_.rows[i];
    ImportCounts& counts = report.splits[static_cast<size_t>(row.split)];
    ++counts.images;
    counts.captions += static_cast<int64_t>(row.captions.size());
    report.images_without_caption += row.captions.empty() ? 1 : 0;
    uint8_t& seen = seen_in[static_cast<size_t>(identities_[i])];
    const auto bit = static_cast<uint8_t>(1U << static_cast<unsigned>(row.split));
    if ((seen & bit) != 0) continue;
    ++counts.identities;
    if (seen != 0 && (seen & (seen - 1)) == 0) ++report.identities_in_two_splits;
    seen = static_cast<uint8_t>(seen | bit);
  }
  if (report.identities_in_two_splits > 0) {
    report.warnings.push_back(fmt::format("{} identities are in more than one split", report.identities_in_two_splits));
  }
  if (report.images_without_caption > 0) {
    report.warnings.push_back(
        fmt::format("{} images have no caption: training leaves them out, evaluation keeps them in the gallery",
                    report.images_without_caption));
  }
  if (list_.published != nullptr) compare(*list_.published, report);
  return report;
}

}  // namespace muster
