#include "dataloader/store_manifest.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdint>

#include "dataloader/formats/hashes.h"
#include "launch/error.h"

namespace muster {
namespace {

using google::protobuf::TextFormat;

constexpr char kFirstLine[] =
    "# A Muster store; see dataloader/README.md. Do not edit: the last line is a hash of the lines above.\n";
constexpr char kHashLine[] = "# xxh3-128 ";
constexpr size_t kHashDigits = 32;
constexpr uint64_t kBoxBytes = 4 * sizeof(float);

// Keeps the parser from printing.
class SilentCollector : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, google::protobuf::io::ColumnNumber, const std::string&) override {}
};

void check(bool good, const std::string& path, const std::string& what) {
  if (!good) throw DataError(path + ": " + what);
}

bool parse_text(const std::string& text, bool allow_unknown, StoreManifest& manifest) {
  SilentCollector silent;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&silent);
  parser.AllowUnknownField(allow_unknown);
  parser.AllowPartialMessage(true);
  return parser.ParseFromString(text, &manifest);
}

// Bytes up to the hash line, after the hash was found right.
std::string verified_body(const std::string& text, const std::string& path) {
  const size_t line_bytes = sizeof kHashLine - 1 + kHashDigits + 1;
  const bool has_line = text.size() >= line_bytes && text.back() == '\n' &&
                        text.compare(text.size() - line_bytes, sizeof kHashLine - 1, kHashLine) == 0;
  check(has_line, path, "the hash in its last line is missing; it is truncated or no store's manifest: import again");
  const std::string body = text.substr(0, text.size() - line_bytes);
  const std::string hash = text.substr(text.size() - 1 - kHashDigits, kHashDigits);
  check(hash == xxh3_128_hex(body.data(), body.size()), path,
        "does not match its hash; it is damaged or was edited: import again");
  return body;
}

// Apart from each other and within the file; the regions' blobs have rows of the right width.
bool blobs_are_sane(const StoreShard& shard, int64_t width) {
  bool sane = (width > 0) == shard.has_region_features() && (width > 0) == shard.has_region_boxes();
  uint64_t at = 0;
  for (const ByteRange& blob : blobs_of(shard)) {
    sane &= at <= blob.begin && blob.begin <= blob.end;
    at = blob.end;
  }
  sane &= at <= shard.bytes();
  if (!sane || width == 0) return sane;
  const uint64_t features = shard.region_features().end() - shard.region_features().begin();
  const uint64_t row_bytes = static_cast<uint64_t>(width) * sizeof(uint16_t);
  return region_rows(shard) > 0 && features % row_bytes == 0 && features / row_bytes == region_rows(shard) &&
         (shard.region_boxes().end() - shard.region_boxes().begin()) % kBoxBytes == 0;
}

void check_numbers(const StoreManifest& manifest, const std::string& path) {
  int64_t images = 0, captions = 0, identities = 0;
  const int64_t width = manifest.regions().width();
  bool sane = manifest.has_regions() ? width > 0 && width <= kMostRegionWidth : width == 0;
  for (const StoreShard& shard : manifest.shard()) {
    sane &= !shard.file().empty() && shard.file().find('/') == std::string::npos && shard.file() != "..";
    sane &= blobs_are_sane(shard, manifest.regions().width());
    sane &= shard.images() > 0 && shard.captions() >= 0 && shard.identities() >= 0;
    sane &= !__builtin_add_overflow(images, shard.images(), &images);
    sane &= !__builtin_add_overflow(captions, shard.captions(), &captions);
    sane &= !__builtin_add_overflow(identities, shard.identities(), &identities);
  }
  sane &= images == manifest.images() && captions == manifest.captions() && identities == manifest.identities();
  check(sane && images > 0, path, "its numbers do not add up; it was not written by Muster: import again");
}

}  // namespace

void add_shard(StoreManifest& manifest, const StoreShard& shard) {
  *manifest.add_shard() = shard;
  manifest.set_images(manifest.images() + shard.images());
  manifest.set_captions(manifest.captions() + shard.captions());
  manifest.set_identities(manifest.identities() + shard.identities());
}

uint64_t region_rows(const StoreShard& shard) {
  return (shard.region_boxes().end() - shard.region_boxes().begin()) / kBoxBytes;
}

std::vector<ByteRange> blobs_of(const StoreShard& shard) {
  std::vector<ByteRange> blobs = {{shard.image_blob_begin(), shard.image_blob_end()}};
  if (shard.has_region_features()) blobs.push_back({shard.region_features().begin(), shard.region_features().end()});
  if (shard.has_region_boxes()) blobs.push_back({shard.region_boxes().begin(), shard.region_boxes().end()});
  std::sort(blobs.begin(), blobs.end(), [](const ByteRange& a, const ByteRange& b) {
    return a.begin < b.begin || (a.begin == b.begin && a.end < b.end);
  });
  return blobs;
}

std::string format_store_manifest(StoreManifest manifest) {
  manifest.set_format_version(manifest.has_regions() ? 2 : 1);
  std::string text;
  TextFormat::PrintToString(manifest, &text);
  text = kFirstLine + text;
  return text + kHashLine + xxh3_128_hex(text.data(), text.size()) + "\n";
}

StoreManifest parse_store_manifest(const std::string& text, const std::string& path) {
  const std::string body = verified_body(text, path);
  // What a newer version added is unknown here, so its number is looked at before anything else.
  StoreManifest manifest;
  const bool readable = parse_text(body, true, manifest);
  if (readable && manifest.format_version() > kStoreFormatVersion) {
    throw DataError(path + ": the store has format " + std::to_string(manifest.format_version()) +
                    ", this program reads up to " + std::to_string(kStoreFormatVersion) +
                    "; use a newer muster or import again with this one");
  }
  manifest.Clear();
  check(readable && parse_text(body, false, manifest) && manifest.format_version() == (manifest.has_regions() ? 2 : 1),
        path, "is not a store's manifest; import again");
  check_numbers(manifest, path);
  return manifest;
}

}  // namespace muster
