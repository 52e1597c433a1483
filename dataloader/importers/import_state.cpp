#include "dataloader/importers/import_state.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/hashes.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kMaxStateBytes = size_t{1} << 28;
constexpr size_t kHashDigits = 32;

void save_state(const std::string& path, const google::protobuf::MessageLite& message) {
  const std::string bytes = message.SerializeAsString();
  write_file_atomically(path, xxh3_128_hex(bytes.data(), bytes.size()) + bytes);
}

bool load_state(const std::string& path, google::protobuf::MessageLite& message) {
  if (access(path.c_str(), F_OK) != 0) return false;
  const std::string text = read_file(path, kMaxStateBytes);
  if (text.size() < kHashDigits) return false;
  const std::string bytes = text.substr(kHashDigits);
  return xxh3_128_hex(bytes.data(), bytes.size()) == text.substr(0, kHashDigits) && message.ParseFromString(bytes);
}

// Appends with lengths, so that no two lists of values give the same bytes.
void append(std::string& bytes, const std::string& text) {
  bytes += std::to_string(text.size()) + ":" + text;
}

template <typename T>
void append(std::string& bytes, const std::vector<T>& values) {
  bytes += std::to_string(values.size()) + ":";
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

void append(std::string& bytes, const StringTable& table) {
  append(bytes, table.bytes);
  append(bytes, table.offsets);
}

std::string hash_of(const ShardTables& tables) {
  std::string bytes;
  append(bytes, tables.image_offsets);
  append(bytes, tables.image_hashes);
  append(bytes, tables.widths);
  append(bytes, tables.heights);
  append(bytes, tables.image_ids);
  append(bytes, tables.identities);
  append(bytes, tables.splits);
  append(bytes, tables.paths);
  append(bytes, tables.captions);
  append(bytes, tables.caption_images);
  append(bytes, tables.identity_names);
  append(bytes, tables.region_offsets);
  append(bytes, tables.region_hashes);
  return xxh3_128_hex(bytes.data(), bytes.size());
}

std::string written_path(const std::string& folder, int64_t shard) {
  return fmt::format("{}/shard-{:05d}.written", folder, shard);
}

}  // namespace

CheckedBlocks::CheckedBlocks(const std::string& folder, const ImportList& list, int64_t block_rows)
    : folder_(folder), list_(list), block_rows_(block_rows) {}

int64_t CheckedBlocks::count() const {
  return (static_cast<int64_t>(list_.rows.size()) + block_rows_ - 1) / block_rows_;
}

int64_t CheckedBlocks::end_row(int64_t block) const {
  return std::min(first_row(block) + block_rows_, static_cast<int64_t>(list_.rows.size()));
}

std::string CheckedBlocks::path(int64_t block) const {
  return fmt::format("{}/block-{:08d}.rows", folder_, block);
}

// What decides which bytes are read and what is refused; captions, identities and splits are looked up in the list.
std::string CheckedBlocks::hash_of_list(int64_t block) const {
  std::string bytes;
  append(bytes, std::filesystem::absolute(list_.root).string());
  for (int64_t i = first_row(block); i < end_row(block); ++i) {
    const ImportRow& row = list_.rows[static_cast<size_t>(i)];
    append(bytes, row.image);
    append(bytes, row.refusal);
    append(bytes, row.region_item);
    if (row.container < 0) continue;
    append(bytes, std::filesystem::absolute(list_.containers[static_cast<size_t>(row.container)]).string());
    bytes += fmt::format("{}+{};", row.begin, row.bytes);
  }
  return xxh3_128_hex(bytes.data(), bytes.size());
}

std::optional<CheckedRows> CheckedBlocks::load(int64_t block) const {
  CheckedRows rows;
  if (!load_state(path(block), rows) || rows.list_xxh3() != hash_of_list(block) ||
      rows.row_size() != end_row(block) - first_row(block)) {
    return std::nullopt;
  }
  return rows;
}

void CheckedBlocks::save(int64_t block, CheckedRows rows) const {
  rows.set_list_xxh3(hash_of_list(block));
  save_state(path(block), rows);
}

void CheckedBlocks::forget(int64_t block) const {
  unlink(path(block).c_str());
}

std::string shard_file_name(int64_t shard) {
  return fmt::format("shard-{:05d}.h5", shard);
}

std::optional<StoreShard> find_written_shard(const std::string& folder, int64_t shard, const ShardTables& tables) {
  WrittenShard written;
  if (!load_state(written_path(folder, shard), written) || written.tables_xxh3() != hash_of(tables)) return {};
  try {
    verify_structure(folder, written.shard());
  } catch (const DataError&) {
    return {};  // it is written anew
  }
  return written.shard();
}

void note_written_shard(const std::string& folder, int64_t shard, const ShardTables& tables,
                        const StoreShard& description) {
  WrittenShard written;
  written.set_tables_xxh3(hash_of(tables));
  *written.mutable_shard() = description;
  save_state(written_path(folder, shard), written);
}

}  // namespace muster
