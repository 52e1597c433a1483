#include <fmt/format.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/file.h"
#include "dataloader/formats/hashes.h"
#include "launch/error.h"
#include "trainer/checkpoint.pb.h"
#include "trainer/checkpoint_files.h"
#include "trainer/checkpoint_layout.h"

namespace muster {
namespace {

constexpr size_t kMaxTextBytes = size_t{16} << 20;

template <typename Message>
Message parse(const std::string& text, const std::string& path) {
  struct Silent : google::protobuf::io::ErrorCollector {
    void AddError(int, int, const std::string&) override {}
  } silent;
  Message message;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&silent);
  if (!parser.ParseFromString(text, &message)) throw DataError(path + " is not what this program writes");
  return message;
}

CheckpointManifest read_manifest(const std::string& path) {
  const std::string text = read_file(path, kMaxTextBytes);
  const size_t hash_line = text.rfind("hash: ");
  const size_t hashed = hash_line == std::string::npos ? 0 : hash_line;
  if (text.substr(hashed) != fmt::format("hash: \"{}\"\n", xxh3_128_hex(text.data(), hashed))) {
    throw DataError(path + " does not have the hash it states");
  }
  const auto manifest = parse<CheckpointManifest>(text, path);
  if (manifest.format() != kCheckpointFormat) {
    throw DataError(
        fmt::format("{} has format {}; this program reads format {}", path, manifest.format(), kCheckpointFormat));
  }
  return manifest;
}

constexpr std::string_view kNeeded[] = {kModelFile, kOptimizerFile, kStateFile, kConfigFile};
constexpr std::string_view kOptional[] = {kEmaFile, kReferencesFile};

// A manifest, and the files beside it that must be as it says.
class ListedFiles {
 public:
  explicit ListedFiles(const std::string& folder) : folder_(folder), manifest_(read_manifest(path_of(kManifestFile))) {
    for (const std::string_view name : kNeeded) {
      if (!has(name)) throw DataError(fmt::format("{} lists no {}", path_of(kManifestFile), name));
    }
    for (const CheckpointManifest::File& file : manifest_.file()) {
      const auto is_it = [&](std::string_view name) { return name == file.name(); };
      const bool known = std::any_of(std::begin(kNeeded), std::end(kNeeded), is_it) ||
                         std::any_of(std::begin(kOptional), std::end(kOptional), is_it);
      if (!known || &find(file.name()) != &file) {
        throw DataError(path_of(kManifestFile) + " lists a file twice, or one that is not a checkpoint's");
      }
      const auto bytes = static_cast<int64_t>(InputFile(path_of(file.name())).size());
      if (bytes != file.bytes()) {
        throw DataError(
            fmt::format("{} has {} bytes, its manifest says {}", path_of(file.name()), bytes, file.bytes()));
      }
    }
  }

  int64_t step() const { return manifest_.step(); }
  std::string path_of(std::string_view name) const { return fmt::format("{}/{}", folder_, name); }
  bool has(std::string_view name) const {
    return std::any_of(manifest_.file().begin(), manifest_.file().end(),
                       [&](const auto& file) { return file.name() == name; });
  }

  NamedTensors tensors(std::string_view name) const { return read_safetensors(path_of(name), find(name).xxh3_128()); }
  std::string text(std::string_view name) const {
    std::string text = read_file(path_of(name), kMaxTextBytes);
    check(name, xxh3_128_hex(text.data(), text.size()));
    return text;
  }
  // The path of a file that is read later.
  std::string checked_path(std::string_view name) const {
    check(name, xxh3_128_hex_of_file(path_of(name)));
    return path_of(name);
  }

 private:
  const CheckpointManifest::File& find(std::string_view name) const {
    return *std::find_if(manifest_.file().begin(), manifest_.file().end(),
                         [&](const auto& file) { return file.name() == name; });
  }
  void check(std::string_view name, const std::string& hash) const {
    if (hash != find(name).xxh3_128()) throw DataError(path_of(name) + " does not have its manifest's hash");
  }

  std::string folder_;
  CheckpointManifest manifest_;
};

}  // namespace

Snapshot read_checkpoint(const std::string& folder) {
  const ListedFiles files(folder);
  Snapshot snapshot;
  snapshot.state = parse<TrainState>(files.text(kStateFile), files.path_of(kStateFile));
  if (snapshot.state.step() != files.step()) {
    throw DataError(files.path_of(kStateFile) + " is of another step than its manifest");
  }
  snapshot.config = files.text(kConfigFile);
  snapshot.model = files.tensors(kModelFile);
  snapshot.optimizer = files.tensors(kOptimizerFile);
  if (files.has(kEmaFile)) snapshot.ema = files.tensors(kEmaFile);
  if (files.has(kReferencesFile)) snapshot.references_file = files.checked_path(kReferencesFile);
  return snapshot;
}

std::string read_checkpoint_config(const std::string& folder) {
  return ListedFiles(folder).text(kConfigFile);
}

}  // namespace muster
