#include "dataloader/importers/row_loader.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "dataloader/formats/file.h"
#include "launch/error.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxImageFileBytes = uint64_t{1} << 28;
constexpr char kSkipHint[] = " (--skip-bad refuses such images and goes on)";

}  // namespace

RowLoader::RowLoader(const ImportList& list) : containers_(list.containers), root_option_(list.root_option) {
  const bool needs_root = list.has_images && std::any_of(list.rows.begin(), list.rows.end(),
                                                         [](const ImportRow& row) { return row.container < 0; });
  if (!needs_root) return;
  std::error_code error;
  const fs::path folder = fs::canonical(list.root.empty() ? "." : list.root, error);
  if (error || !fs::is_directory(folder, error)) {
    throw DataError("the image root " + list.root + " is not a folder; give another with " + root_option_);
  }
  root_ = folder == folder.root_path() ? folder.string() : folder.string() + "/";
}

std::string RowLoader::find(const ImportRow& row) const {
  const fs::path relative(row.image);
  if (row.image.empty() || row.image.find('\0') != std::string::npos) {
    throw DataError(row.where + ": the image's path is empty or holds a zero byte; correct it");
  }
  std::error_code error;
  const std::string path = fs::canonical(fs::path(root_) / relative, error).string();
  // A path that does not exist is judged by its letters.
  const std::string place = error ? (fs::path(root_) / relative).lexically_normal().string() : path;
  if (place.compare(0, root_.size(), root_) != 0) {
    throw DataError(row.where + ": image " + row.image + " lies outside the root " + root_ +
                    "; give a root that holds it with " + root_option_);
  }
  if (error) {
    throw DataError(row.where + ": image " + row.image + " cannot be found below " + root_ + " (" + error.message() +
                    "); correct the path or give another root with " + root_option_);
  }
  return path;
}

// Where an image lies: an open file and a range of it that holds something.
struct RowLoader::Piece {
  InputFile file;
  uint64_t begin = 0, bytes = 0;
};

RowLoader::Piece RowLoader::open(const ImportRow& row) const {
  const bool whole = row.container < 0;
  const std::string path = whole ? find(row) : containers_[static_cast<size_t>(row.container)];
  try {
    InputFile file(path);
    const uint64_t begin = whole ? 0 : row.begin, bytes = whole ? file.size() : row.bytes;
    if (bytes == 0) throw DataError(row.image + " is empty");
    if (bytes > kMaxImageFileBytes) {
      throw DataError(row.image + " has " + std::to_string(bytes) + " bytes; images may have " +
                      std::to_string(kMaxImageFileBytes));
    }
    if (begin > file.size() || bytes > file.size() - begin) throw DataError(file.path() + " became shorter");
    return {std::move(file), begin, bytes};
  } catch (const DataError& error) {
    throw DataError(row.where + ": " + error.what() + kSkipHint);
  }
}

bool RowLoader::is_missing(const ImportRow& row) const {
  std::error_code error;
  return row.container < 0 && !fs::exists(fs::path(root_) / row.image, error);
}

uint64_t RowLoader::size(const ImportRow& row) const {
  return open(row).bytes;
}

std::vector<uint8_t> RowLoader::read(const ImportRow& row) const {
  const Piece piece = open(row);
  std::vector<uint8_t> bytes(piece.bytes);
  try {
    piece.file.read(bytes.data(), bytes.size(), piece.begin);
  } catch (const DataError& error) {
    throw DataError(row.where + ": " + error.what() + kSkipHint);
  }
  return bytes;
}

RowLoader::Checked RowLoader::check(const ImportRow& row, const std::vector<uint8_t>& bytes) const {
  try {
    Complaints complaints;
    const Image image = decode_image(bytes.data(), bytes.size(), row.image, complaints);
    return {image.width, image.height, complaints};
  } catch (const DataError& error) {
    throw DataError(row.where + ": " + error.what() + kSkipHint);
  }
}

}  // namespace muster
