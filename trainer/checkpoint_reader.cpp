#include <fmt/format.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "dataloader/formats/atomic_file.h"
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

bool lists(const CheckpointManifest& manifest, std::string_view name) {
  return std::any_of(manifest.file().begin(), manifest.file().end(),
                     [&](const auto& file) { return file.name() == name; });
}

void verify(const std::string& folder, const CheckpointManifest& manifest) {
  for (const CheckpointManifest::File& file : manifest.file()) {
    const std::string path = folder + "/" + file.name();
    std::error_code error;
    const auto bytes = static_cast<int64_t>(std::filesystem::file_size(path, error));
    if (error) throw DataError(path + ": " + error.message());
    if (bytes != file.bytes()) {
      throw DataError(fmt::format("{} has {} bytes, its manifest says {}", path, bytes, file.bytes()));
    }
    if (xxh3_128_hex_of_file(path) != file.xxh3_128()) throw DataError(path + " does not have its manifest's hash");
  }
  for (const std::string_view name : {kModelFile, kOptimizerFile, kStateFile, kConfigFile}) {
    if (!lists(manifest, name)) throw DataError(fmt::format("{}/{} lists no {}", folder, kManifestFile, name));
  }
}

}  // namespace

Snapshot read_checkpoint(const std::string& folder) {
  const CheckpointManifest manifest = read_manifest(folder + "/" + kManifestFile);
  verify(folder, manifest);
  Snapshot snapshot;
  snapshot.model = read_safetensors(folder + "/" + kModelFile);
  snapshot.optimizer = read_safetensors(folder + "/" + kOptimizerFile);
  if (lists(manifest, kEmaFile)) snapshot.ema = read_safetensors(folder + "/" + kEmaFile);
  if (lists(manifest, kReferencesFile)) snapshot.references_file = folder + "/" + kReferencesFile;
  const std::string state_path = folder + "/" + kStateFile;
  snapshot.state = parse<TrainState>(read_file(state_path, kMaxTextBytes), state_path);
  snapshot.config = read_file(folder + "/" + kConfigFile, kMaxTextBytes);
  if (snapshot.state.step() != manifest.step()) throw DataError(state_path + " is of another step than its manifest");
  return snapshot;
}

}  // namespace muster
