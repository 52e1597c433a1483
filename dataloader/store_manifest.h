// manifest.textproto of a store: the StoreManifest as text, and a last line with the XXH3-128 of all bytes before it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/formats/hashes.h"
#include "dataloader/store.pb.h"

namespace muster {

constexpr int kStoreFormatVersion = 2;  // the newest that is read
constexpr int64_t kMostRegionWidth = 65536;

// Adds the shard and its counts to the totals.
void add_shard(StoreManifest& manifest, const StoreShard& shard);

// Numbers of regions in a shard; 0 without any.
uint64_t region_rows(const StoreShard& shard);

// Where a shard's file holds what is covered by a hash an image, in the file's order.
std::vector<ByteRange> blobs_of(const StoreShard& shard);

// Sets the format's number, too: the lowest that says what the manifest says.
std::string format_store_manifest(StoreManifest manifest);

// `path` names the file in messages. DataError: damaged, not a manifest, from a newer version, or its numbers do not
// add up (all counts and extents are then sane: not negative, blobs within files, totals equal to the sums).
StoreManifest parse_store_manifest(const std::string& text, const std::string& path);

}  // namespace muster
