// What an import leaves in its partial folder, so that it can be continued and its ranks can see each other's work. A
// file that is damaged, or speaks of other rows or another shard, counts as absent.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataloader/import_state.pb.h"
#include "dataloader/importers/importer.h"
#include "dataloader/store_shard.h"

namespace muster {

// The list, cut into blocks of rows.
class CheckedBlocks {
 public:
  // The list must outlive it.
  CheckedBlocks(const std::string& folder, const ImportList& list, int64_t block_rows);

  int64_t count() const;
  int64_t first_row(int64_t block) const { return block * block_rows_; }
  int64_t end_row(int64_t block) const;

  std::optional<CheckedRows> load(int64_t block) const;
  // On the disk when it returns.
  void save(int64_t block, CheckedRows rows) const;
  void forget(int64_t block) const;

 private:
  std::string path(int64_t block) const;
  std::string hash_of_list(int64_t block) const;

  std::string folder_;
  const ImportList& list_;
  int64_t block_rows_;
};

std::string shard_file_name(int64_t shard);

// A shard with these tables that an earlier import finished, if its structure is still what it was.
std::optional<StoreShard> find_written_shard(const std::string& folder, int64_t shard, const ShardTables& tables);
void note_written_shard(const std::string& folder, int64_t shard, const ShardTables& tables,
                        const StoreShard& description);

}  // namespace muster
