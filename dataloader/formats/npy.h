// Arrays of floating-point numbers as NumPy saves them (numpy.lib.format, versions 1.0 to 3.0). The header is parsed,
// never evaluated; sizes are checked before memory is taken.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataloader/formats/file.h"

namespace muster {

struct NpyHeader {
  uint64_t item_bytes = 0;      // 2, 4 or 8: float16, float32, float64, little-endian
  std::vector<uint64_t> shape;  // C order
  uint64_t elements = 0;        // their product
  uint64_t begin = 0;           // of the data
};

// The header at the start of `bytes` of an array of `total_bytes` in all. DataError, opening with `where`: no array of
// NumPy, cut off or too long, of other types, in Fortran order.
NpyHeader parse_npy_header(std::string_view bytes, uint64_t total_bytes, const std::string& where);

// A whole array in memory, as float32 (float64 is rounded).
struct NpyArray {
  std::vector<uint64_t> shape;
  std::vector<float> values;
};
NpyArray parse_npy(std::string_view bytes, const std::string& where);
// DataError also: cannot be read, more than max_bytes.
NpyArray read_npy(const std::string& path, uint64_t max_bytes);

// An array that is read by parts. Any number of threads may use one.
class NpyFile {
 public:
  // DataError as parse_npy_header().
  explicit NpyFile(const std::string& path);
  const std::string& path() const { return file_.path(); }
  const std::vector<uint64_t>& shape() const { return header_.shape; }
  // Elements [first, first + count) in C order. std::out_of_range: beyond the array.
  std::vector<float> read(uint64_t first, uint64_t count) const;

 private:
  InputFile file_;
  NpyHeader header_;
};

}  // namespace muster
