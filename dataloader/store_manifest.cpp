#include "dataloader/store_manifest.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

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

void check_numbers(const StoreManifest& manifest, const std::string& path) {
  int64_t images = 0, captions = 0, identities = 0;
  bool sane = true;
  for (const StoreShard& shard : manifest.shard()) {
    sane &= !shard.file().empty() && shard.file().find('/') == std::string::npos && shard.file() != "..";
    sane &= shard.image_blob_begin() <= shard.image_blob_end() && shard.image_blob_end() <= shard.bytes();
    sane &= shard.images() > 0 && shard.captions() >= 0 && shard.identities() >= 0;
    sane &= !__builtin_add_overflow(images, shard.images(), &images);
    sane &= !__builtin_add_overflow(captions, shard.captions(), &captions);
    sane &= !__builtin_add_overflow(identities, shard.identities(), &identities);
  }
  sane &= images == manifest.images() && captions == manifest.captions() && identities == manifest.identities();
  check(sane && images > 0, path, "its numbers do not add up; it was not written by Muster: import again");
}

}  // namespace

std::string format_store_manifest(const StoreManifest& manifest) {
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
  check(readable && parse_text(body, false, manifest) && manifest.format_version() == kStoreFormatVersion, path,
        "is not a store's manifest; import again");
  check_numbers(manifest, path);
  return manifest;
}

}  // namespace muster
