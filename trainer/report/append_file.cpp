#include "trainer/report/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "dataloader/formats/file.h"

namespace muster {

AppendFile::AppendFile(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw_system_error("cannot open", path_);
}

AppendFile::~AppendFile() {
  ::close(descriptor_);
}

void AppendFile::append(std::string_view record) {
  while (!record.empty()) {
    const ssize_t written = ::write(descriptor_, record.data(), record.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_system_error("cannot write", path_);
    record.remove_prefix(static_cast<size_t>(written));
  }
}

void AppendFile::sync() {
  if (::fdatasync(descriptor_) != 0) throw_system_error("cannot sync", path_);
}

}  // namespace muster
