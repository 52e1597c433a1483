// A disk that fails, for any program: LD_PRELOAD=libdisk_fault.so stands before the C library's calls that change what
// lies under one folder, counts them, and at the n-th does what it is told.
//
//   DISK_FAULT_UNDER=PATH  calls on files below this absolute path are counted, from 0
//   DISK_FAULT_LOG=FILE    each of them adds a line, "write model.safetensors"
//   DISK_FAULT_WHAT=LINE   only calls with this line are counted: threads take turns in another order each time
//   DISK_FAULT_CALL=N      the call that meets the fault; none: calls are only counted
//   DISK_FAULT_KIND=       EIO     this call fails, half of a write arrives
//                          ENOSPC  the disk is full from this call on
//                          short   half of a write arrives and is reported
//                          exit    half of a write arrives, and the process ends as by kill -9
//                          power   the same, and no byte that was not synced before is on the disk
//                          read    this read fails with EIO; reads are counted then, nothing else
//   DISK_FAULT_RANK=R      in a job of several ranks: only in this one
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct Plan {
  std::string under = environment("DISK_FAULT_UNDER");
  std::string kind = environment("DISK_FAULT_KIND");
  std::string what = environment("DISK_FAULT_WHAT");
  long call = environment("DISK_FAULT_CALL").empty() ? -1 : std::stol(environment("DISK_FAULT_CALL"));
  bool reads = kind == "read";
  int log = -1;

  Plan() {
    const std::string rank = environment("DISK_FAULT_RANK");
    if (!rank.empty() && rank != environment("OMPI_COMM_WORLD_RANK")) under.clear();
    const std::string path = environment("DISK_FAULT_LOG");
    if (!path.empty() && !under.empty()) {
      log = static_cast<int>(syscall(SYS_openat, AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644));
    }
  }
};

const Plan& plan() {
  static const Plan instance;
  return instance;
}

std::string link_target(const std::string& link) {
  char path[4096];
  const ssize_t size = readlink(link.c_str(), path, sizeof path);
  return std::string(path, size > 0 ? static_cast<size_t>(size) : 0);
}

std::string path_of(int descriptor) {
  return link_target("/proc/self/fd/" + std::to_string(descriptor));
}

std::string path_of(int folder, const char* name) {
  if (name[0] == '/') return name;
  return (folder == AT_FDCWD ? link_target("/proc/self/cwd") : path_of(folder)) + "/" + name;
}

// What was written and not synced: a descriptor of its own for each file, and how many of its bytes are safe.
class Unsynced {
 public:
  void before_write(int descriptor) {
    struct stat status {};
    if (plan().kind != "power" || fstat(descriptor, &status) != 0) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto file = std::make_pair(status.st_dev, status.st_ino);
    if (files_.count(file) == 0) files_[file] = {dup(descriptor), status.st_size};
  }
  void synced(int descriptor) {
    struct stat status {};
    if (plan().kind != "power" || fstat(descriptor, &status) != 0) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = files_.find(std::make_pair(status.st_dev, status.st_ino));
    if (found == files_.end()) return;
    syscall(SYS_close, found->second.first);
    files_.erase(found);
  }
  void lose() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& file : files_) syscall(SYS_ftruncate, file.second.first, file.second.second);
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<dev_t, ino_t>, std::pair<int, off_t>> files_;
};

Unsynced& unsynced() {
  static Unsynced instance;
  return instance;
}

bool is_under(const std::string& path) {
  const std::string& under = plan().under;
  return !under.empty() && path.compare(0, under.size(), under) == 0 &&
         (path.size() == under.size() || path[under.size()] == '/');
}

enum class Outcome { kPass, kFail, kShort };

// "write checkpoints/LATEST"; without the time and the number that are in the name of TensorBoard's file.
std::string line_of(const char* what, const std::string& path) {
  const std::string line = std::string(what) + " " + path.substr(std::min(path.size(), plan().under.size() + 1));
  return line.substr(0, line.find(".tfevents"));
}

Outcome meet(const char* what, const std::string& path) {
  static std::atomic<long> calls{0};
  static std::atomic<bool> is_full{false};
  if (!is_under(path)) return Outcome::kPass;
  const bool is_read = std::string(what) == "read";
  if (is_read != plan().reads) return Outcome::kPass;
  const std::string line = line_of(what, path);
  if (plan().log >= 0 && syscall(SYS_write, plan().log, (line + "\n").data(), line.size() + 1) < 0) _exit(1);
  const bool is_counted = plan().what.empty() || plan().what == line;
  const bool is_chosen = is_counted && plan().call >= 0 && calls++ == plan().call;
  const std::string& kind = plan().kind;
  if (is_chosen && kind == "ENOSPC") is_full = true;
  const bool gives_space = std::string(what) == "unlink" || std::string(what) == "close";
  if (kind == "ENOSPC" ? !is_full || gives_space : !is_chosen) return Outcome::kPass;
  if (kind == "short") return std::string(what) == "write" ? Outcome::kShort : Outcome::kPass;
  errno = kind == "ENOSPC" ? ENOSPC : EIO;
  return Outcome::kFail;
}

// For the calls that are not writes: true if the call must fail.
bool fails(const char* what, const std::string& path) {
  if (meet(what, path) != Outcome::kFail) return false;
  if (plan().kind == "power") unsynced().lose();
  if (plan().kind == "exit" || plan().kind == "power") _exit(137);
  return true;
}

// `put(n)` writes the first n bytes.
template <typename Put>
ssize_t write_through(int descriptor, size_t size, const Put& put) {
  const std::string path = path_of(descriptor);
  if (is_under(path)) unsynced().before_write(descriptor);
  const Outcome outcome = meet("write", path);
  if (outcome == Outcome::kPass || size == 0) return put(size);
  if (outcome == Outcome::kShort) return put((size + 1) / 2);
  const int reason = errno;
  if (reason != ENOSPC) put(size / 2);
  if (plan().kind == "power") unsynced().lose();
  if (plan().kind == "exit" || plan().kind == "power") _exit(137);
  errno = reason;
  return -1;
}

int open_through(int folder, const char* path, int flags, mode_t mode) {
  const bool changes = (flags & (O_CREAT | O_TRUNC)) != 0;
  if (fails(changes ? "create" : "read", path_of(folder, path))) return -1;
  return static_cast<int>(syscall(SYS_openat, folder, path, flags, mode));
}

mode_t mode_of(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

extern "C" {

#define OPEN_WITH_MODE(NAME)                          \
  int NAME(const char* path, int flags, ...) {        \
    va_list arguments;                                \
    va_start(arguments, flags);                       \
    const mode_t mode = mode_of(flags, arguments);    \
    va_end(arguments);                                \
    return open_through(AT_FDCWD, path, flags, mode); \
  }
#define OPEN_AT_WITH_MODE(NAME)                            \
  int NAME(int folder, const char* path, int flags, ...) { \
    va_list arguments;                                     \
    va_start(arguments, flags);                            \
    const mode_t mode = mode_of(flags, arguments);         \
    va_end(arguments);                                     \
    return open_through(folder, path, flags, mode);        \
  }
OPEN_WITH_MODE(open)
OPEN_WITH_MODE(open64)
OPEN_AT_WITH_MODE(openat)
OPEN_AT_WITH_MODE(openat64)

// As the headers name them where sizes are checked (_FORTIFY_SOURCE).
int __open_2(const char* path, int flags) {
  return open_through(AT_FDCWD, path, flags, 0);
}
int __open64_2(const char* path, int flags) {
  return open_through(AT_FDCWD, path, flags, 0);
}
int __openat_2(int folder, const char* path, int flags) {
  return open_through(folder, path, flags, 0);
}
int __openat64_2(int folder, const char* path, int flags) {
  return open_through(folder, path, flags, 0);
}

ssize_t write(int descriptor, const void* data, size_t size) {
  return write_through(descriptor, size,
                       [&](size_t count) -> ssize_t { return syscall(SYS_write, descriptor, data, count); });
}
ssize_t pwrite(int descriptor, const void* data, size_t size, off_t offset) {
  return write_through(descriptor, size,
                       [&](size_t count) -> ssize_t { return syscall(SYS_pwrite64, descriptor, data, count, offset); });
}
ssize_t pwrite64(int descriptor, const void* data, size_t size, off64_t offset) {
  return pwrite(descriptor, data, size, offset);
}
// Of several pieces only the first is written where not all may be.
ssize_t writev(int descriptor, const iovec* pieces, int count) {
  size_t size = 0;
  for (int i = 0; i < count; ++i) size += pieces[i].iov_len;
  return write_through(descriptor, size, [&](size_t some) -> ssize_t {
    if (some == size) return syscall(SYS_writev, descriptor, pieces, count);
    return syscall(SYS_write, descriptor, pieces[0].iov_base, std::min(some, pieces[0].iov_len));
  });
}

ssize_t read(int descriptor, void* data, size_t size) {
  if (plan().reads && fails("read", path_of(descriptor))) return -1;
  return syscall(SYS_read, descriptor, data, size);
}
ssize_t pread(int descriptor, void* data, size_t size, off_t offset) {
  if (plan().reads && fails("read", path_of(descriptor))) return -1;
  return syscall(SYS_pread64, descriptor, data, size, offset);
}
ssize_t pread64(int descriptor, void* data, size_t size, off64_t offset) {
  return pread(descriptor, data, size, offset);
}
ssize_t __read_chk(int descriptor, void* data, size_t size, size_t) {
  return read(descriptor, data, size);
}
ssize_t __pread_chk(int descriptor, void* data, size_t size, off_t offset, size_t) {
  return pread(descriptor, data, size, offset);
}
ssize_t __pread64_chk(int descriptor, void* data, size_t size, off64_t offset, size_t) {
  return pread(descriptor, data, size, offset);
}

int fsync(int descriptor) {
  if (fails("fsync", path_of(descriptor))) return -1;
  const int result = static_cast<int>(syscall(SYS_fsync, descriptor));
  if (result == 0) unsynced().synced(descriptor);
  return result;
}
int fdatasync(int descriptor) {
  if (fails("fdatasync", path_of(descriptor))) return -1;
  const int result = static_cast<int>(syscall(SYS_fdatasync, descriptor));
  if (result == 0) unsynced().synced(descriptor);
  return result;
}

// Closes all the same: an error comes late, and the descriptor is gone.
int close(int descriptor) {
  const bool was_written = (fcntl(descriptor, F_GETFL) & O_ACCMODE) != O_RDONLY;
  const bool failed = was_written && fails("close", path_of(descriptor));
  const int result = static_cast<int>(syscall(SYS_close, descriptor));
  if (!failed) return result;
  errno = EIO;
  return -1;
}

int rename(const char* from, const char* to) noexcept {
  if (fails("rename", path_of(AT_FDCWD, to))) return -1;
  return static_cast<int>(syscall(SYS_rename, from, to));
}
int mkdir(const char* path, mode_t mode) noexcept {
  if (fails("mkdir", path_of(AT_FDCWD, path))) return -1;
  return static_cast<int>(syscall(SYS_mkdir, path, mode));
}
int truncate(const char* path, off_t size) noexcept {
  if (fails("truncate", path_of(AT_FDCWD, path))) return -1;
  return static_cast<int>(syscall(SYS_truncate, path, size));
}
int ftruncate(int descriptor, off_t size) noexcept {
  if (fails("truncate", path_of(descriptor))) return -1;
  return static_cast<int>(syscall(SYS_ftruncate, descriptor, size));
}
int truncate64(const char* path, off64_t size) noexcept {
  return truncate(path, size);
}
int ftruncate64(int descriptor, off64_t size) noexcept {
  return ftruncate(descriptor, size);
}
int unlink(const char* path) noexcept {
  if (fails("unlink", path_of(AT_FDCWD, path))) return -1;
  return static_cast<int>(syscall(SYS_unlink, path));
}
int rmdir(const char* path) noexcept {
  if (fails("unlink", path_of(AT_FDCWD, path))) return -1;
  return static_cast<int>(syscall(SYS_rmdir, path));
}
int unlinkat(int folder, const char* name, int flags) noexcept {
  if (fails("unlink", path_of(folder, name))) return -1;
  return static_cast<int>(syscall(SYS_unlinkat, folder, name, flags));
}
int remove(const char* path) noexcept {
  return unlink(path) == 0 ? 0 : rmdir(path);
}

}  // extern "C"
