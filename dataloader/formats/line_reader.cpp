#include "dataloader/formats/line_reader.h"

#include <algorithm>
#include <string_view>

#include "launch/error.h"

namespace muster {
namespace {

constexpr uint64_t kBufferBytes = 65536;

}  // namespace

LineReader::LineReader(const std::string& path, size_t max_line_bytes) : file_(path), max_line_bytes_(max_line_bytes) {
  skip_byte_order_mark();
}

void LineReader::skip_byte_order_mark() {
  char mark[3] = {};
  file_.read(mark, std::min<uint64_t>(sizeof mark, file_.size()), 0);
  const std::string_view start(mark, sizeof mark);
  if (start == "\xef\xbb\xbf") file_at_ = sizeof mark;
  if (start.substr(0, 2) == "\xff\xfe" || start.substr(0, 2) == "\xfe\xff")
    throw DataError(file_.path() + " is UTF-16 text; save it as UTF-8, for example with iconv -f UTF-16 -t UTF-8");
}

bool LineReader::fill() {
  buffer_at_ = 0;
  buffer_.resize(std::min(kBufferBytes, file_.size() - file_at_));
  file_.read(buffer_.data(), buffer_.size(), file_at_);
  file_at_ += buffer_.size();
  return !buffer_.empty();
}

bool LineReader::next(std::string& line) {
  line.clear();
  bool found = false, ended = false;
  while (!ended && (buffer_at_ < buffer_.size() || fill())) {
    const size_t newline = buffer_.find('\n', buffer_at_);
    ended = newline != std::string::npos;
    const size_t end = ended ? newline : buffer_.size();
    if (!found) ++line_number_;
    found = true;
    if (line.size() + (end - buffer_at_) > max_line_bytes_) {
      throw DataError(where() + ": the line is longer than " + std::to_string(max_line_bytes_) +
                      " bytes; is it the right file?");
    }
    line.append(buffer_, buffer_at_, end - buffer_at_);
    buffer_at_ = ended ? end + 1 : end;
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return found;
}

}  // namespace muster
