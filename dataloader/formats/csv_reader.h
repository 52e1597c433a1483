// Records of a text table: RFC 4180 with a delimiter of one's choice.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/formats/line_reader.h"

namespace muster {

// A field in quotes may hold the delimiter, line ends and quotes (written twice); \r\n inside it becomes \n. A quote
// inside a field that does not begin with one is an ordinary character, as in Python's csv. Lines end with \n or \r\n.
class CsvReader {
 public:
  // delimiter 0: a tab if there is one in the first record outside quotes, else a comma. quoted false: quotes are
  // ordinary characters. DataError: cannot be read, is UTF-16.
  CsvReader(const std::string& path, char delimiter, bool quoted = true);

  // The next record; blank lines are skipped. False at the end. DataError, opening with where(): text behind a closing
  // quote, not UTF-8, a zero byte (the next call goes on behind it); a quote that is never closed, a record longer than
  // 1 MiB (nothing can be read behind them).
  bool next(std::vector<std::string>& fields);

  // "path:line" of the first line of the record last returned or refused.
  std::string where() const;
  // The last error leaves nothing to go on with.
  bool ended() const { return ended_; }
  char delimiter() const { return delimiter_; }

 private:
  bool read_record(std::string& record);
  void choose_delimiter(const std::string& record);
  void cut(const std::string& record, std::vector<std::string>& fields) const;

  std::string path_;
  LineReader lines_;
  char delimiter_;
  bool quoted_;
  int64_t first_line_ = 0;
  bool ended_ = false;
};

}  // namespace muster
