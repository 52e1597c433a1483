#include "dataloader/formats/csv_reader.h"

#include "dataloader/formats/utf8.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kMaxRecordBytes = size_t{1} << 20;

// Whether a field's quote is open behind this line, where it was (`inside`) before it. `delimiter` 0: any tab or comma
// ends a field.
bool is_open_behind(const std::string& line, char delimiter, bool inside) {
  bool at_start = !inside;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (inside) {
      const bool doubled = c == '"' && i + 1 < line.size() && line[i + 1] == '"';
      i += doubled ? 1 : 0;
      inside = c != '"' || doubled;
    } else {
      inside = c == '"' && at_start;
      at_start = delimiter == 0 ? c == ',' || c == '\t' : c == delimiter;
    }
  }
  return inside;
}

}  // namespace

CsvReader::CsvReader(const std::string& path, char delimiter, bool quoted)
    : path_(path), lines_(path, kMaxRecordBytes), delimiter_(delimiter), quoted_(quoted) {}

std::string CsvReader::where() const {
  return path_ + ":" + std::to_string(first_line_);
}

bool CsvReader::read_record(std::string& record) {
  do {
    if (!lines_.next(record)) return false;
  } while (record.empty());
  first_line_ = lines_.line_number();
  std::string line;
  bool open = quoted_ && is_open_behind(record, delimiter_, false);
  while (open) {
    const bool more = lines_.next(line);
    if (more && record.size() + line.size() < kMaxRecordBytes) {
      record += "\n" + line;
      open = is_open_behind(line, delimiter_, true);
      continue;
    }
    ended_ = true;
    throw DataError(where() + ": a quote opens a field here and is not closed " +
                    (more ? "within " + std::to_string(kMaxRecordBytes) + " bytes" : "before the end of the file") +
                    "; close it, or give --no-quotes if quotes are ordinary characters");
  }
  return true;
}

void CsvReader::choose_delimiter(const std::string& record) {
  bool inside = false;
  delimiter_ = ',';
  for (const char c : record) {
    if (c == '"' && quoted_) inside = !inside;
    if (c == '\t' && !inside) delimiter_ = '\t';
  }
}

void CsvReader::cut(const std::string& record, std::vector<std::string>& fields) const {
  fields.assign(1, "");
  bool inside = false, closed = false, at_start = true;
  for (size_t i = 0; i < record.size(); ++i) {
    const char c = record[i];
    if (inside && c == '"' && i + 1 < record.size() && record[i + 1] == '"') {
      fields.back() += record[++i];
    } else if (inside && c == '"') {
      inside = false;
      closed = true;
    } else if (inside) {
      fields.back() += c;
    } else if (c == delimiter_) {
      fields.emplace_back();
      at_start = true;
      closed = false;
      continue;
    } else if (closed) {
      throw DataError(where() + ": text follows a closing quote in field " + std::to_string(fields.size()) +
                      "; write quotes inside a field twice, or give --no-quotes if they are ordinary characters");
    } else if (c == '"' && at_start && quoted_) {
      inside = true;
    } else {
      fields.back() += c;
    }
    at_start = false;
  }
}

bool CsvReader::next(std::vector<std::string>& fields) {
  std::string record;
  if (ended_) return false;
  try {
    if (!read_record(record)) return false;
  } catch (const DataError&) {
    ended_ = true;
    throw;
  }
  check_utf8(record, where() + ": ");
  if (record.find('\0') != std::string::npos) {
    throw DataError(where() + ": a zero byte in the text; is the file damaged?");
  }
  if (delimiter_ == 0) choose_delimiter(record);
  cut(record, fields);
  return true;
}

}  // namespace muster
