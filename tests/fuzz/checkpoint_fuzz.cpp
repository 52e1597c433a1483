// A checkpoint's manifest and state: two pieces of an input, each found under its hash. The manifest's STATE_BYTES and
// STATE_HASH become the state's own; beside them lie a config and two files of no tensors.
#include <string>

#include "dataloader/formats/hashes.h"
#include "tests/fuzz/target.h"
#include "trainer/checkpoint_files.h"

namespace muster::fuzz {
namespace {

const std::string kNoTensors = std::string("\x08\0\0\0\0\0\0\0", 8) + "{}      ";
const std::string kConfig = "train { steps: 7 }\n";

std::string hash_of(const std::string& bytes) {
  return xxh3_128_hex(bytes.data(), bytes.size());
}

std::string file_entry(const std::string& name, const std::string& bytes, const std::string& hash) {
  return "file {\n  name: \"" + name + "\"\n  bytes: " + bytes + "\n  xxh3_128: \"" + hash + "\"\n}\n";
}

void replace(std::string& text, const std::string& word, const std::string& by) {
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + by.size())) {
    text.replace(at, word.size(), by);
  }
}

}  // namespace

std::vector<std::string> seeds() {
  const std::string tensors = std::to_string(kNoTensors.size()), hash = hash_of(kNoTensors);
  return {"format: 1\nstep: 7\n" + file_entry("model.safetensors", tensors, hash) +
          file_entry("optimizer.safetensors", tensors, hash) +
          file_entry("state.textproto", "STATE_BYTES", "STATE_HASH") +
          file_entry("config.textproto", std::to_string(kConfig.size()), hash_of(kConfig)) +
          "\1step: 7\nsamples_seen: 896\nseed: 3\nstore_fingerprint: \"abc\"\n"};
}

std::vector<std::string> words() {
  return {"format: ",
          "step: ",
          "file {",
          "}",
          "name: \"",
          "bytes: ",
          "xxh3_128: \"",
          "STATE_BYTES",
          "STATE_HASH",
          "\1",
          "\n",
          "../",
          "seed: ",
          "samples_seen: ",
          "\\x",
          "\"",
          "ema.safetensors",
          "references.safetensors",
          "hash: \""};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  const std::vector<std::string> pieces = fuzz::pieces_of(data, size, 2);
  std::string manifest = pieces[0];
  fuzz::replace(manifest, "STATE_BYTES", std::to_string(pieces[1].size()));
  fuzz::replace(manifest, "STATE_HASH", fuzz::hash_of(pieces[1]));
  const fuzz::FolderOfFiles folder({{"manifest.textproto", manifest + "hash: \"" + fuzz::hash_of(manifest) + "\"\n"},
                                    {"state.textproto", pieces[1]},
                                    {"config.textproto", fuzz::kConfig},
                                    {"model.safetensors", fuzz::kNoTensors},
                                    {"optimizer.safetensors", fuzz::kNoTensors}});
  fuzz::allow_refusal([&] {
    const Snapshot snapshot = read_checkpoint(folder.path());
    fuzz::require(snapshot.model.empty() && snapshot.config == fuzz::kConfig, "a checkpoint holds what its files hold");
  });
  return 0;
}
