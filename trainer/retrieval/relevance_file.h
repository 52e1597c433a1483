// Relevances of images to captions as published code keeps them (TERAN; ROUGE-L or SPICE of a caption with an image's
// captions): raw float32 without a header, a row of all images for each caption, 0 to kMostRelevance.
#pragma once

#include <cstdint>
#include <string>

namespace muster {

// ROUGE-L and SPICE are at most 1, degrees of relevance some units; gains are exponential in it.
inline constexpr float kMostRelevance = 100;

// Reads from any number of threads.
class RelevanceFile {
 public:
  // DataError: no such file, or its size is not that of captions x images.
  RelevanceFile(const std::string& path, int64_t captions, int64_t images);
  ~RelevanceFile();
  RelevanceFile(const RelevanceFile&) = delete;
  RelevanceFile& operator=(const RelevanceFile&) = delete;

  // Images [first, first + count) of a caption's row. DataError: another number, and where.
  void read(int64_t caption, int64_t first, int64_t count, float* relevances) const;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int64_t images_;
  int file_ = -1;
};

}  // namespace muster
