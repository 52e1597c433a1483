#include "trainer/report/append_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "dataloader/formats/file.h"
#include "launch/log.h"

namespace muster {

AppendFile::AppendFile(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw_system_error("cannot open", path_);
}

AppendFile::~AppendFile() {
  ::close(descriptor_);
}

void AppendFile::append(std::string_view record) {
  waiting_ += record;
  write_waiting();
}

void AppendFile::write_waiting() {
  size_t done = 0;
  while (done < waiting_.size()) {
    const ssize_t written = ::write(descriptor_, waiting_.data() + done, waiting_.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) break;
    done += static_cast<size_t>(written);
  }
  note(done < waiting_.size());
  waiting_.erase(0, done);
}

void AppendFile::sync() {
  write_waiting();
  if (waiting_.empty()) note(::fdatasync(descriptor_) != 0);
}

void AppendFile::note(bool fails) {
  if (fails && !fails_) {
    const std::string reason = std::generic_category().message(errno);
    log_warning(fmt::format("cannot write {}: {}; what belongs there waits in memory", path_, reason));
  }
  if (!fails && fails_) log_info(path_ + " is written again");
  fails_ = fails;
}

}  // namespace muster
