// Which rows go to which shard under which numbers: a pure function of the list and of what decoding it gave.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/import_state.pb.h"
#include "dataloader/importers/importer.h"
#include "dataloader/store_shard.h"

namespace muster {

class ImportPlan {
 public:
  // checked[i] is of list.rows[i]. A shard is closed once its images and regions exceed shard_bytes, as StoreWriter
  // does it. Both must outlive the plan. DataError: every row was refused.
  ImportPlan(const ImportList& list, const std::vector<CheckedRow>& checked, int64_t shard_bytes);

  int64_t shards() const { return static_cast<int64_t>(shards_.size()); }
  // Numbers of the list's rows in a shard, ascending.
  const std::vector<int64_t>& rows(int64_t shard) const { return shards_[static_cast<size_t>(shard)].rows; }
  ShardTables tables(int64_t shard) const;

  // Counts, refusals, warnings and differences from the published counts.
  ImportReport report() const;

 private:
  struct PlannedShard {
    std::vector<int64_t> rows;
    ShardStart start;
  };
  void refuse_if_nothing_is_left() const;

  const ImportList& list_;
  const std::vector<CheckedRow>& checked_;
  int64_t region_width_;             // 0 without regions
  std::vector<int64_t> identities_;  // of each row; -1 if it is refused
  int64_t identity_count_ = 0;
  std::vector<PlannedShard> shards_;
};

}  // namespace muster
