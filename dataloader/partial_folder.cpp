#include "dataloader/partial_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/file.h"
#include "launch/error.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// Files that a writer of stores makes: only those are ever deleted.
bool is_ours(const fs::directory_entry& entry) {
  const std::string extension = entry.path().extension().string();
  const std::set<std::string> ours = {".h5",   ".spool",   ".textproto",   ".partial",
                                      ".rows", ".written", ".safetensors", ".json"};
  return entry.is_regular_file() && ours.count(extension) > 0;
}

void check_target(const std::string& path) {
  if (path.empty()) throw DataError("the store to make has an empty name; give another one with --out");
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (status.type() == fs::file_type::not_found) return;
  if (status.type() != fs::file_type::directory || !fs::is_empty(path, error)) {
    throw DataError(path + " exists already; remove it or choose another name");
  }
}

void check_leftovers(const std::string& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!is_ours(entry)) {
      throw DataError(folder + " holds " + entry.path().filename().string() +
                      ", which Muster did not leave there; remove the folder or choose another name");
    }
  }
}

}  // namespace

std::string partial_path(const std::string& path) {
  return without_trailing_slash(path) + ".partial";
}

PartialFolder::PartialFolder(const std::string& path, Leftovers leftovers)
    : path_(without_trailing_slash(path)), folder_(partial_path(path_)) {
  check_target(path_);
  if (mkdir(folder_.c_str(), 0777) != 0 && errno != EEXIST) throw_system_error("cannot create folder", folder_);
  descriptor_ = open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (descriptor_ < 0) throw_system_error("cannot open folder", folder_);
  try {
    // A file system without locks (some network ones) is not an obstacle.
    if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      throw DataError(folder_ + " is being written by another process; wait for it or choose another name");
    }
    check_leftovers(folder_);
    if (leftovers == Leftovers::kRemove) keep_only({});
  } catch (const fs::filesystem_error& error) {
    close(descriptor_);
    throw DataError("cannot read " + folder_ + ": " + error.code().message());
  } catch (...) {
    close(descriptor_);
    throw;
  }
  owned_ = true;
}

PartialFolder::~PartialFolder() {
  discard();
  close(descriptor_);
}

void PartialFolder::keep_only(const std::set<std::string>& names) {
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
      if (names.count(entry.path().filename().string()) == 0) fs::remove(entry.path());
    }
  } catch (const fs::filesystem_error& error) {
    throw DataError("cannot remove old files in " + folder_ + ": " + error.code().message());
  }
}

void PartialFolder::publish() {
  fsync_folder(folder_);
  if (std::rename(folder_.c_str(), path_.c_str()) != 0) throw_system_error("cannot rename " + folder_ + " to", path_);
  owned_ = false;
  fsync_folder(fs::path(path_).parent_path().string());
}

void PartialFolder::discard() noexcept {
  if (!owned_) return;
  owned_ = false;
  std::error_code error;
  fs::remove_all(folder_, error);
}

}  // namespace muster
