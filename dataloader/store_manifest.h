// manifest.textproto of a store: the StoreManifest as text, and a last line with the XXH3-128 of all bytes before it.
#pragma once

#include <string>

#include "dataloader/store.pb.h"

namespace muster {

constexpr int kStoreFormatVersion = 1;

std::string format_store_manifest(const StoreManifest& manifest);

// `path` names the file in messages. DataError: damaged, not a manifest, from a newer version, or its numbers do not
// add up (all counts and extents are then sane: not negative, blobs within files, totals equal to the sums).
StoreManifest parse_store_manifest(const std::string& text, const std::string& path);

}  // namespace muster
