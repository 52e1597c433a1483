// A file that only grows, a whole record at a time: a kill can tear the last record, no other.
#pragma once

#include <string>
#include <string_view>

namespace muster {

class AppendFile {
 public:
  // Opens the file or makes it. All functions throw DataError naming the path and the system's reason.
  explicit AppendFile(const std::string& path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void append(std::string_view record);
  // The records so far are on the disk when it returns.
  void sync();

 private:
  std::string path_;
  int descriptor_;
};

}  // namespace muster
