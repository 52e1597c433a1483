// A file system of a test's own, as small as it likes.
#pragma once

#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace muster {

// A tmpfs of `size` ("512k") over the folder while it lives. Needs root: where it is not mounted(), a test is skipped
// for the reason().
class SmallDisk {
 public:
  SmallDisk(const std::string& path, const std::string& size) : path_(path) {
    mounted_ = mount("tmpfs", path.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
    reason_ = std::string("cannot mount a tmpfs of its own: ") + std::strerror(errno);
  }
  ~SmallDisk() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool mounted() const { return mounted_; }
  const std::string& reason() const { return reason_; }

  void resize(const std::string& size) const { remount(0, "size=" + size); }
  void make_read_only() const { remount(MS_RDONLY, ""); }

 private:
  void remount(unsigned long flags, const std::string& options) const {
    if (mount("tmpfs", path_.c_str(), "tmpfs", MS_REMOUNT | flags, options.c_str()) != 0) {
      throw std::runtime_error("cannot mount " + path_ + " anew");
    }
  }

  std::string path_, reason_;
  bool mounted_;
};

}  // namespace muster
