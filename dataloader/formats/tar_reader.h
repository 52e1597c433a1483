// Members of a tar file (POSIX.1-2001: ustar and pax; GNU's long names and large sizes), by where they lie in it:
// nothing is unpacked, and no member's name is ever used as a path.
#pragma once

#include <cstdint>
#include <string>

#include "dataloader/formats/file.h"

namespace muster {

class TarReader {
 public:
  // DataError: cannot be read, is compressed.
  explicit TarReader(const std::string& path);

  struct Member {
    std::string name;    // any bytes
    uint64_t begin = 0;  // of its data in the file; all of it lies in the file
    uint64_t bytes = 0;
  };
  // The next regular file; folders, links and devices are passed over. False at the end of the archive. DataError: a
  // damaged header, a member that goes beyond the file, a sparse file.
  bool next(Member& member);

  // The bytes of a member. DataError: more than max_bytes.
  std::string read(const Member& member, uint64_t max_bytes) const;
  const InputFile& file() const { return file_; }

 private:
  struct Header;
  bool read_header(Header& header);
  void read_pax(const Header& header, Member& member, bool& has_size) const;
  [[noreturn]] void fail(uint64_t at, const std::string& what) const;

  InputFile file_;
  uint64_t at_ = 0;  // of the next header
};

}  // namespace muster
