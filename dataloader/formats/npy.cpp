#include "dataloader/formats/npy.h"

#include <c10/util/Half.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "dataloader/formats/atomic_file.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kMostHeaderBytes = 4096;  // of NumPy's own: 118
constexpr size_t kMostDimensions = 8;

// The dictionary in a header: {'descr': '<f4', 'fortran_order': False, 'shape': (36, 2048), }, keys in any order.
class HeaderText {
 public:
  HeaderText(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  void parse(NpyHeader& header) {
    bool has_type = false, has_order = false, has_shape = false;
    take('{', true);
    while (!take('}', false)) {
      const std::string_view key = string();
      take(':', true);
      if (key == "descr" && !has_type) {
        header.item_bytes = item_bytes();
        has_type = true;
      } else if (key == "fortran_order" && !has_order) {
        fortran_ = boolean();
        has_order = true;
      } else if (key == "shape" && !has_shape) {
        header.shape = shape();
        has_shape = true;
      } else {
        fail();
      }
      if (!take(',', false)) {
        take('}', true);
        break;
      }
    }
    skip_space();
    if (at_ != text_.size() || !has_type || !has_order || !has_shape) fail();
    if (fortran_ && header.shape.size() > 1) {
      throw DataError(where_ + ": the array is in Fortran order; save numpy.ascontiguousarray() of it");
    }
  }

 private:
  [[noreturn]] void fail() const { throw DataError(where_ + ": its header is no array's of NumPy; it is damaged"); }

  void skip_space() { at_ = std::min(text_.find_first_not_of(" \n", at_), text_.size()); }

  bool take(char c, bool needed) {
    skip_space();
    const bool found = at_ < text_.size() && text_[at_] == c;
    if (found) ++at_;
    if (needed && !found) fail();
    return found;
  }

  std::string_view string() {
    skip_space();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) fail();
    const size_t begin = at_ + 1, end = text_.find(text_[at_], begin);
    if (end == std::string_view::npos) fail();
    at_ = end + 1;
    return text_.substr(begin, end - begin);
  }

  uint64_t item_bytes() {
    skip_space();
    const bool is_text = at_ < text_.size() && (text_[at_] == '\'' || text_[at_] == '"');
    const std::string_view type = is_text ? string() : "a record";
    if (type == "<f2") return 2;
    if (type == "<f4") return 4;
    if (type == "<f8") return 8;
    throw DataError(where_ + ": the array is of type " + std::string(type.substr(0, 16)) +
                    "; save it as float16, float32 or float64, little-endian");
  }

  bool boolean() {
    skip_space();
    for (const std::string_view word : {"True", "False"}) {
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return word == "True";
    }
    fail();
  }

  std::vector<uint64_t> shape() {
    std::vector<uint64_t> sizes;
    take('(', true);
    while (!take(')', false)) {
      skip_space();
      const size_t end = std::min(text_.find_first_not_of("0123456789", at_), text_.size());
      if (end == at_ || end - at_ > 18 || sizes.size() == kMostDimensions) fail();
      sizes.push_back(std::stoull(std::string(text_.substr(at_, end - at_))));
      at_ = end;
      if (!take(',', false)) {
        take(')', true);
        break;
      }
    }
    return sizes;
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
  bool fortran_ = false;
};

std::vector<float> to_floats(const char* bytes, uint64_t count, uint64_t item_bytes) {
  std::vector<float> values(count);
  if (item_bytes == 4) {
    std::memcpy(values.data(), bytes, count * 4);
    return values;
  }
  for (uint64_t i = 0; i < count; ++i) {
    if (item_bytes == 2) {
      c10::Half half;
      std::memcpy(&half.x, bytes + 2 * i, 2);
      values[i] = static_cast<float>(half);
    } else {
      double wide = 0;
      std::memcpy(&wide, bytes + 8 * i, 8);
      values[i] = static_cast<float>(wide);
    }
  }
  return values;
}

}  // namespace

NpyHeader parse_npy_header(std::string_view bytes, uint64_t total_bytes, const std::string& where) {
  constexpr std::string_view kMagic("\x93NUMPY", 6);
  if (bytes.substr(0, kMagic.size()) != kMagic || bytes.size() < 10) {
    throw DataError(where + ": not an array as NumPy saves it (.npy)");
  }
  const auto at = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(bytes[i])); };
  const size_t version = at(6), prefix = version == 1 ? 10 : 12;
  if (version < 1 || version > 3 || bytes.size() < prefix) {
    throw DataError(where + ": an .npy of version " + std::to_string(version) + ", of which Muster reads 1 to 3");
  }
  const size_t length = version == 1 ? at(8) | at(9) << 8 : at(8) | at(9) << 8 | at(10) << 16 | at(11) << 24;
  if (length > kMostHeaderBytes || length > bytes.size() - prefix) {
    throw DataError(where + ": its header is cut off or too long; it is damaged");
  }
  NpyHeader header;
  HeaderText(bytes.substr(prefix, length), where).parse(header);
  header.begin = prefix + length;
  header.elements = 1;
  bool sane = true;
  for (const uint64_t size : header.shape) sane &= !__builtin_mul_overflow(header.elements, size, &header.elements);
  uint64_t data_bytes = 0;
  sane &= !__builtin_mul_overflow(header.elements, header.item_bytes, &data_bytes);
  if (!sane || header.begin > total_bytes || data_bytes != total_bytes - header.begin) {
    throw DataError(where + ": has other bytes than its header says; it is cut off or damaged");
  }
  return header;
}

NpyArray parse_npy(std::string_view bytes, const std::string& where) {
  const NpyHeader header = parse_npy_header(bytes, bytes.size(), where);
  return {header.shape, to_floats(bytes.data() + header.begin, header.elements, header.item_bytes)};
}

NpyArray read_npy(const std::string& path, uint64_t max_bytes) {
  return parse_npy(read_file(path, max_bytes), path);
}

NpyFile::NpyFile(const std::string& path) : file_(path) {
  std::string start(std::min<uint64_t>(file_.size(), kMostHeaderBytes + 12), '\0');
  file_.read(start.data(), start.size(), 0);
  header_ = parse_npy_header(start, file_.size(), path);
}

std::vector<float> NpyFile::read(uint64_t first, uint64_t count) const {
  if (first > header_.elements || count > header_.elements - first) throw std::out_of_range("NpyFile: " + path());
  std::vector<char> bytes(count * header_.item_bytes);
  file_.read(bytes.data(), bytes.size(), header_.begin + first * header_.item_bytes);
  return to_floats(bytes.data(), count, header_.item_bytes);
}

}  // namespace muster
