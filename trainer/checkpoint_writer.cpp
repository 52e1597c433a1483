#include <fmt/format.h>
#include <google/protobuf/text_format.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/file.h"
#include "dataloader/formats/hashes.h"
#include "launch/error.h"
#include "trainer/checkpoint.pb.h"
#include "trainer/checkpoint_files.h"
#include "trainer/checkpoint_layout.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

void check(const std::error_code& error, const char* what, const std::string& path) {
  if (error) throw DataError(fmt::format("cannot {} {}: {}", what, path, error.message()));
}

void make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  check(error, "make folder", path);
}

void rename_folder(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::rename(from, to, error);
  check(error, "rename", from + " to " + to);
}

void remove_folder(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  check(error, "remove", path);
}

std::string to_text(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(message, &text);
  return text;
}

// Each write syncs the file and then the folder. The hashes are of what was in memory, so that a disk that keeps other
// bytes is found out; only of the references that the ranks have put there are they of the file.
void write_files(const std::string& folder, const Snapshot& snapshot) {
  CheckpointManifest manifest;
  manifest.set_format(kCheckpointFormat);
  manifest.set_step(snapshot.state.step());
  const auto list = [&](const char* name, const WrittenFile& written) {
    CheckpointManifest::File& file = *manifest.add_file();
    file.set_name(name);
    file.set_bytes(static_cast<int64_t>(written.bytes));
    file.set_xxh3_128(written.xxh3_128);
  };
  const auto write_tensors = [&](const char* name, const NamedTensors& tensors) {
    list(name, write_safetensors(folder + "/" + name, tensors));
  };
  const auto write_text = [&](const char* name, const std::string& text) {
    list(name, write_file_atomically(folder + "/" + name, text));
  };
  write_tensors(kModelFile, snapshot.model);
  write_tensors(kOptimizerFile, snapshot.optimizer);
  write_text(kStateFile, to_text(snapshot.state));
  write_text(kConfigFile, snapshot.config);
  if (!snapshot.ema.empty()) write_tensors(kEmaFile, snapshot.ema);
  if (!snapshot.references.empty()) write_tensors(kReferencesFile, snapshot.references);
  if (snapshot.references_in_place) {
    const InputFile file(folder + "/" + kReferencesFile);
    list(kReferencesFile, {file.size(), xxh3_128_hex_of_ranges(file, {{0, file.size()}})});
  }
  const std::string text = to_text(manifest);
  write_file_atomically(folder + "/" + kManifestFile,
                        text + fmt::format("hash: \"{}\"\n", xxh3_128_hex(text.data(), text.size())));
}

// A folder cannot be renamed over another that holds files: the old one steps aside first, and is found under its other
// name should we be killed in between.
void put_in_place(const std::string& partial, const std::string& whole) {
  const std::string replaced = whole + kReplacedSuffix;
  const bool is_there = fs::exists(whole);
  if (is_there) {
    remove_folder(replaced);
    rename_folder(whole, replaced);
  }
  try {
    rename_folder(partial, whole);
  } catch (const DataError&) {
    std::error_code ignored;
    if (is_there) fs::rename(replaced, whole, ignored);
    throw;
  }
}

}  // namespace

std::string prepare_checkpoint(const std::string& checkpoints, int64_t step) {
  const std::string partial = checkpoints + "/" + checkpoint_name(step) + kPartialSuffix;
  make_folder(checkpoints);
  fsync_folder(fs::path(checkpoints).parent_path().string());
  remove_folder(partial);
  make_folder(partial);
  return partial;
}

void write_checkpoint(const std::string& checkpoints, const Snapshot& snapshot) {
  const std::string name = checkpoint_name(snapshot.state.step());
  const std::string whole = checkpoints + "/" + name;
  const std::string partial = whole + kPartialSuffix;
  try {
    if (!snapshot.references_in_place) prepare_checkpoint(checkpoints, snapshot.state.step());
    write_files(partial, snapshot);
    put_in_place(partial, whole);
  } catch (const DataError&) {
    std::error_code ignored;
    fs::remove_all(partial, ignored);
    throw;
  }
  fsync_folder(checkpoints);
}

void name_latest(const std::string& checkpoints, int64_t step) {
  write_file_atomically(checkpoints + "/" + kLatestFile, checkpoint_name(step) + "\n");
}

void remove_checkpoint(const std::string& checkpoints, const std::string& name) {
  const std::string removed = checkpoints + "/" + name + kRemovedSuffix;
  rename_folder(checkpoints + "/" + name, removed);
  remove_folder(removed);
}

void remove_leftovers(const std::string& checkpoints) {
  for (const char* suffix : {kPartialSuffix, kRemovedSuffix}) {
    for (const CheckpointFolder& folder : list_checkpoints(checkpoints, suffix)) {
      remove_folder(checkpoints + "/" + folder.name);
    }
  }
  for (const CheckpointFolder& folder : list_checkpoints(checkpoints, kReplacedSuffix)) {
    const std::string replaced = checkpoints + "/" + folder.name;
    const std::string whole = checkpoints + "/" + checkpoint_name(folder.step);
    if (fs::exists(whole)) {
      remove_folder(replaced);
    } else {
      rename_folder(replaced, whole);
    }
  }
}

}  // namespace muster
