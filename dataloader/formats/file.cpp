#include "dataloader/formats/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "launch/error.h"

namespace muster {

void throw_system_error(const std::string& what, const std::string& path) {
  const int reason = errno;
  std::string message = what + " " + path + ": " + std::generic_category().message(reason);
  if (reason == ENOSPC || reason == EDQUOT || reason == EFBIG) message += "; free some space or choose another disk";
  throw DataError(message);
}

InputFile::InputFile(const std::string& path) : path_(path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) throw_system_error("cannot open", path);
  struct stat status {};
  const bool regular = fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
  if (!regular) {
    close(descriptor_);
    throw DataError("cannot read " + path + ": it is not a regular file");
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

void InputFile::read(void* to, size_t size, uint64_t offset) const {
  auto* next = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t count = pread(descriptor_, next, size, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_system_error("cannot read", path_);
    if (count == 0)
      throw DataError(path_ + " ends too early (at byte " + std::to_string(offset) + "); it is truncated");
    next += count;
    offset += static_cast<uint64_t>(count);
    size -= static_cast<size_t>(count);
  }
}

OutputFile::OutputFile(const std::string& path) : path_(path) {
  descriptor_ = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw_system_error("cannot create", path);
}

OutputFile::OutputFile(const std::string& path, uint64_t offset) : path_(path) {
  descriptor_ = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor_ < 0) throw_system_error("cannot write", path);
  if (lseek(descriptor_, static_cast<off_t>(offset), SEEK_SET) < 0) {
    close(descriptor_);
    throw_system_error("cannot write", path);
  }
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

void OutputFile::write(const void* data, size_t size) {
  const auto* next = static_cast<const char*>(data);
  size_ += size;
  while (size > 0) {
    const ssize_t count = ::write(descriptor_, next, size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_system_error("cannot write", path_);
    next += count;
    size -= static_cast<size_t>(count);
  }
}

void OutputFile::finish() {
  if (fsync(descriptor_) != 0) throw_system_error("cannot write", path_);
  if (close(std::exchange(descriptor_, -1)) != 0) throw_system_error("cannot write", path_);
}

bool is_file(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

bool is_folder(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

}  // namespace muster
