#include "dataloader/formats/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "dataloader/formats/file.h"
#include "dataloader/formats/hashes.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

// Small pieces reach the file together.
class GatheringWriter {
 public:
  explicit GatheringWriter(const std::string& path) : file_(path) {}

  void write(const void* data, size_t size) {
    hash_.update(data, size);
    if (gathered_.size() + size > kPieceBytes) flush();
    if (size > kPieceBytes) {
      file_.write(data, size);
    } else {
      gathered_.append(static_cast<const char*>(data), size);
    }
  }

  WrittenFile finish() {
    flush();
    file_.finish();
    return {file_.size(), hash_.hex()};
  }

 private:
  void flush() {
    file_.write(gathered_.data(), gathered_.size());
    gathered_.clear();
  }

  OutputFile file_;
  StreamHash hash_;
  std::string gathered_;
};

}  // namespace

WrittenFile write_file_atomically(const std::string& path, std::string_view contents) {
  return write_file_atomically(path, [&](const ByteSink& sink) { sink(contents.data(), contents.size()); });
}

WrittenFile write_file_atomically(const std::string& path, const std::function<void(const ByteSink& sink)>& write) {
  // A rename would put a plain file in the place of a device, a pipe or a link.
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::symlink_status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    throw DataError("cannot write " + path + ": it is not a plain file; give the path of a new or plain file");
  }
  const std::string partial = path + ".partial";
  WrittenFile written;
  try {
    GatheringWriter file(partial);
    write([&](const void* data, size_t size) { file.write(data, size); });
    written = file.finish();
    if (std::rename(partial.c_str(), path.c_str()) != 0) throw_system_error("cannot write", path);
  } catch (...) {
    unlink(partial.c_str());
    throw;
  }
  fsync_folder(std::filesystem::path(path).parent_path().string());
  return written;
}

std::string read_file(const std::string& path, size_t max_bytes) {
  const InputFile file(path);
  if (file.size() > max_bytes) {
    throw DataError(path + " has " + std::to_string(file.size()) + " bytes; at most " + std::to_string(max_bytes) +
                    " are allowed here: is it the right file?");
  }
  std::string contents(file.size(), '\0');
  file.read(contents.data(), contents.size(), 0);
  return contents;
}

void fsync_folder(const std::string& path) {
  const std::string folder = path.empty() ? "." : path;
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw_system_error("cannot open folder", folder);
  // Some network file systems cannot sync a folder and say EINVAL; there is nothing better to do on them.
  const bool synced = fsync(descriptor) == 0 || errno == EINVAL;
  const int reason = errno;
  close(descriptor);
  errno = reason;
  if (!synced) throw_system_error("cannot sync folder", folder);
}

}  // namespace muster
