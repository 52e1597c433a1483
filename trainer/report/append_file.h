// A file that only grows, a whole record at a time: a kill can tear the last record, no other. What a full disk does
// not take waits in memory, in order, until it does; one line of the log says so, and one that it is written again.
#pragma once

#include <string>
#include <string_view>

namespace muster {

class AppendFile {
 public:
  // Opens the file or makes it. DataError naming the path and the system's reason.
  explicit AppendFile(const std::string& path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void append(std::string_view record);
  // The records so far are on the disk when it returns, or wait.
  void sync();

 private:
  void write_waiting();
  void note(bool fails);

  std::string path_;
  int descriptor_;
  std::string waiting_;  // not written yet; it may begin within a record
  bool fails_ = false;
};

}  // namespace muster
