#include "trainer/retrieval/relevance_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "launch/error.h"

namespace muster {

RelevanceFile::RelevanceFile(const std::string& path, int64_t captions, int64_t images)
    : path_(path), images_(images), file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  struct stat status {};
  if (file_ < 0 || fstat(file_, &status) != 0) {
    const int error = errno;
    if (file_ >= 0) close(file_);
    throw DataError(fmt::format("{}: {}", path, std::strerror(error)));
  }
  const int64_t due = captions * images * static_cast<int64_t>(sizeof(float));
  if (S_ISREG(status.st_mode) && status.st_size == due) return;
  close(file_);
  throw DataError(fmt::format(
      "{}: has {} bytes, and relevances of {} captions and {} images are {} (raw float32, a row of all images "
      "for each caption); make them for this split: muster relevance",
      path, static_cast<int64_t>(status.st_size), captions, images, due));
}

RelevanceFile::~RelevanceFile() {
  close(file_);
}

void RelevanceFile::read(int64_t caption, int64_t first, int64_t count, float* relevances) const {
  char* to = reinterpret_cast<char*>(relevances);
  int64_t place = (caption * images_ + first) * static_cast<int64_t>(sizeof(float));
  for (int64_t left = count * static_cast<int64_t>(sizeof(float)); left > 0;) {
    const ssize_t got = pread(file_, to, static_cast<size_t>(left), place);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw DataError(
          fmt::format("{}: {}", path_, got < 0 ? std::strerror(errno) : "became shorter while it was read"));
    }
    to += got;
    place += got;
    left -= got;
  }
  for (int64_t i = 0; i < count; ++i) {
    if (relevances[i] >= 0 && relevances[i] <= kMostRelevance) continue;
    throw DataError(fmt::format("{}: the relevance of image {} to caption {} is {}; relevances are 0 to {}", path_,
                                first + i, caption, relevances[i], kMostRelevance));
  }
}

}  // namespace muster
