#include "dataloader/importers/row_loader.h"

#include <filesystem>
#include <system_error>

#include "dataloader/formats/file.h"
#include "dataloader/image.h"
#include "launch/error.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxImageFileBytes = uint64_t{1} << 28;

}  // namespace

RowLoader::RowLoader(const std::string& root) {
  std::error_code error;
  const fs::path folder = fs::canonical(root.empty() ? "." : root, error);
  if (error || !fs::is_directory(folder, error)) {
    throw DataError("the image root " + root + " is not a folder; give another with --root");
  }
  root_ = folder == folder.root_path() ? folder.string() : folder.string() + "/";
}

std::string RowLoader::find(const ImportRow& row) const {
  const fs::path relative(row.image);
  if (row.image.empty() || row.image.find('\0') != std::string::npos) {
    throw DataError(row.where + ": the image's path is empty or holds a zero byte; correct it");
  }
  if (relative.is_absolute()) {
    throw DataError(row.where + ": the image's path " + row.image +
                    " is absolute; write it relative to the root (--root) " + root_);
  }
  std::error_code error;
  const std::string path = fs::canonical(root_ + row.image, error).string();
  const fs::path normal = relative.lexically_normal();
  if (*normal.begin() == ".." || (!error && path.compare(0, root_.size(), root_) != 0)) {
    throw DataError(row.where + ": image " + row.image + " lies outside the root " + root_ +
                    "; give a root that holds it with --root");
  }
  if (error) {
    throw DataError(row.where + ": image " + row.image + " cannot be found below " + root_ + " (" + error.message() +
                    "); correct the path or give another root with --root");
  }
  return path;
}

StoreRecord RowLoader::load(const ImportRow& row) const {
  const std::string path = find(row);
  StoreRecord record;
  try {
    const InputFile file(path);
    if (file.size() == 0) throw DataError(row.image + " is empty");
    if (file.size() > kMaxImageFileBytes) {
      throw DataError(row.image + " has " + std::to_string(file.size()) + " bytes; images may have " +
                      std::to_string(kMaxImageFileBytes));
    }
    record.image.resize(file.size());
    file.read(record.image.data(), record.image.size(), 0);
    const Image image = decode_image(record.image.data(), record.image.size(), row.image);
    record.width = image.width;
    record.height = image.height;
  } catch (const DataError& error) {
    throw DataError(row.where + ": " + error.what() + " (--skip-bad refuses such images and goes on)");
  }
  record.source_path = row.image;
  record.captions = row.captions;
  record.identity = row.identity;
  record.split = row.split;
  return record;
}

}  // namespace muster
