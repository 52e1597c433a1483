#include "dataloader/formats/line_reader.h"

#include <algorithm>

#include "launch/error.h"

namespace muster {
namespace {

constexpr uint64_t kBufferBytes = 65536;

}  // namespace

LineReader::LineReader(const std::string& path, size_t max_line_bytes) : file_(path), max_line_bytes_(max_line_bytes) {}

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

double LineReader::fraction() const {
  if (file_.size() == 0) return 1;
  return static_cast<double>(file_at_ - (buffer_.size() - buffer_at_)) / static_cast<double>(file_.size());
}

}  // namespace muster
