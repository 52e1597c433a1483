#include "dataloader/synth/jsonl_folder.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "dataloader/formats/atomic_file.h"
#include "launch/error.h"

namespace muster::synth {
namespace {

namespace fs = std::filesystem;

constexpr char kImages[] = "images", kManifest[] = "manifest.jsonl";

// Pictures without a manifest: a writer that was stopped left them.
bool is_leftover(const fs::path& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name == std::string(kManifest) + ".partial") continue;
    if (name != kImages || !entry.is_directory()) return false;
    for (const fs::directory_entry& image : fs::directory_iterator(entry)) {
      if (image.path().extension() != ".jpg") return false;
    }
  }
  return true;
}

}  // namespace

JsonlFolder::JsonlFolder(const std::string& path) : path_(path) {
  try {
    existed_ = fs::exists(path_);
    if (existed_ && (!fs::is_directory(path_) || !is_leftover(path_))) {
      throw DataError(path_ + " exists already; remove it or choose another name");
    }
    fs::remove_all(fs::path(path_) / kImages);
    fs::create_directories(fs::path(path_) / kImages);
  } catch (const fs::filesystem_error& error) {
    throw DataError("cannot create folder " + path_ + ": " + error.code().message());
  }
}

JsonlFolder::~JsonlFolder() {
  if (finished_) return;
  std::error_code error;
  fs::remove_all(fs::path(path_) / kImages, error);
  if (!existed_) fs::remove(path_, error);
}

void JsonlFolder::add(const StoreRecord& record) {
  const std::string file = path_ + "/" + record.source_path;
  std::ofstream out(file, std::ios::binary);
  out.write(reinterpret_cast<const char*>(record.image.data()), static_cast<std::streamsize>(record.image.size()));
  out.close();
  if (!out) throw DataError("cannot write " + file + ": " + std::generic_category().message(errno));
  nlohmann::ordered_json line;
  line["image"] = record.source_path;
  line["identity"] = record.identity;
  line["captions"] = record.captions;
  line["split"] = split_name(record.split);
  lines_ += line.dump() + "\n";
}

void JsonlFolder::finish() {
  write_file_atomically(path_ + "/" + kManifest, lines_);
  finished_ = true;
}

}  // namespace muster::synth
