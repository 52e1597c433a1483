// Lines of a text file, with memory bounded by the longest line allowed.
#pragma once

#include <cstdint>
#include <string>

#include "dataloader/formats/file.h"

namespace muster {

class LineReader {
 public:
  // A byte order mark of UTF-8 is skipped. DataError: cannot be read, is UTF-16.
  LineReader(const std::string& path, size_t max_line_bytes);

  // The next line without its end (\n or \r\n); false at the end of the file. DataError: longer than max_line_bytes.
  bool next(std::string& line);
  // Of the line last returned, from 1.
  int64_t line_number() const { return line_number_; }
  // "path:line", for messages about the line last returned.
  std::string where() const { return file_.path() + ":" + std::to_string(line_number_); }

 private:
  void skip_byte_order_mark();
  bool fill();

  InputFile file_;
  size_t max_line_bytes_;
  std::string buffer_;
  size_t buffer_at_ = 0;
  uint64_t file_at_ = 0;
  int64_t line_number_ = 0;
};

}  // namespace muster
