// What an import leaves for the one that continues it: a block's checked rows and a shard that was written, each under
// its hash. The first byte chooses.
#include <string>

#include "dataloader/formats/hashes.h"
#include "dataloader/importers/import_plan.h"
#include "dataloader/importers/import_state.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {
namespace {

ImportList two_rows() {
  ImportList list;
  list.root = "/";
  list.rows.resize(2);
  list.rows[0].image = "1.jpg";
  list.rows[0].captions = {"a man"};
  list.rows[1].image = "2.jpg";
  return list;
}

ShardTables empty_tables() {
  return {};
}

std::string under_hash(const std::string& bytes) {
  return xxh3_128_hex(bytes.data(), bytes.size()) + bytes;
}

std::string saved_block() {
  const FolderOfFiles folder({});
  CheckedRows rows;
  for (int i = 0; i < 2; ++i) {
    CheckedRow& row = *rows.add_row();
    row.set_bytes(1000);
    row.set_xxh3(7);
    row.set_width(3);
    row.set_height(4);
  }
  const ImportList list = two_rows();
  const CheckedBlocks blocks(folder.path(), list, 2);
  blocks.save(0, rows);
  return blocks.load(0)->SerializeAsString();
}

std::string saved_shard() {
  WrittenShard written;
  written.set_tables_xxh3(std::string(32, '0'));
  written.mutable_shard()->set_file("shard-00000.h5");
  written.mutable_shard()->set_bytes(100);
  return written.SerializeAsString();
}

}  // namespace

std::vector<std::string> seeds() {
  return {"0" + saved_block(), "1" + saved_shard()};
}

std::vector<std::string> words() {
  return {"\x0a", "\x12", "\x18", "\x20", "\x2a\3bad", std::string(9, '\xff') + "\1", "../../x", "\x08"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  if (size == 0) return 0;
  const std::string bytes = fuzz::under_hash({reinterpret_cast<const char*>(data) + 1, size - 1});
  const fuzz::FolderOfFiles folder({{data[0] % 2 == 0 ? "block-00000000.rows" : "shard-00000.written", bytes}});
  if (data[0] % 2 == 1) {
    find_written_shard(folder.path(), 0, fuzz::empty_tables());
    return 0;
  }
  const ImportList list = fuzz::two_rows();
  const std::optional<CheckedRows> rows = CheckedBlocks(folder.path(), list, 2).load(0);
  if (!rows) return 0;
  fuzz::allow_refusal([&] {
    const std::vector<CheckedRow> checked(rows->row().begin(), rows->row().end());  // the plan keeps a reference
    const ImportPlan plan(list, checked, 1 << 20);
    for (int64_t shard = 0; shard < plan.shards(); ++shard) {
      fuzz::require(plan.tables(shard).images() == plan.rows(shard).size(), "each row of a shard is an image of it");
    }
    plan.report();
  });
  return 0;
}
