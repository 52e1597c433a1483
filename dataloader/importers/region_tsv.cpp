#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "dataloader/formats/file.h"
#include "dataloader/importers/region_source.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr uint64_t kMostLineBytes = uint64_t{1} << 26;
constexpr size_t kFields = 6;

// RFC 4648, with padding or without. False: not base64.
bool decode_base64(std::string_view text, std::string& bytes) {
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  bytes.clear();
  bytes.reserve(text.size() / 4 * 3 + 3);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 26
                      : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '+'             ? 62
                      : c == '/'             ? 63
                                             : -1;
    if (value < 0) return false;
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xff);
  }
  return text.size() % 4 != 1;
}

std::vector<float> floats_of(std::string_view text, const char* what) {
  std::string bytes;
  if (!decode_base64(text, bytes) || bytes.size() % sizeof(float) != 0) {
    throw DataError(fmt::format("its {} are no float32 numbers in base64", what));
  }
  std::vector<float> values(bytes.size() / sizeof(float));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

int32_t number_of(std::string_view text, const char* what) {
  const bool digits =
      !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string_view::npos;
  if (!digits) throw DataError(fmt::format("its {} is no number", what));
  return std::stoi(std::string(text));
}

class TsvRegions : public RegionSource {
 public:
  TsvRegions(const std::string& path, const RegionOptions& options) : file_(path) {
    find_lines();
    const Line& first = lines_.at(first_);
    try {
      const RawRegions raw = parse(first);
      if (raw.count == 0 || raw.features.size() % static_cast<size_t>(raw.count) != 0 || raw.features.empty()) {
        throw DataError("its features are no table of its regions");
      }
      set_rules(static_cast<int64_t>(raw.features.size()) / raw.count, options.count);
    } catch (const DataError& error) {
      throw DataError(fmt::format("{}: image {}: {}", path, first_, error.what()));
    }
  }

  RawRegions read(const std::string& item) const override {
    const auto line = lines_.find(item);
    if (line == lines_.end()) throw DataError(fmt::format("image {} is not in {}", item, file_.path()));
    return parse(line->second);
  }

 private:
  struct Line {
    uint64_t begin = 0, bytes = 0;
  };

  void find_lines() {
    std::string piece(size_t{1} << 20, '\0'), id;
    bool in_id = true;
    uint64_t begin = 0;
    int64_t number = 1;
    const auto end_line = [&](uint64_t end) {
      if (end > begin && !(end == begin + 1 && id == "\r")) add(id, {begin, end - begin}, number);
      id.clear();
      in_id = true;
      begin = end + 1;
      ++number;
    };
    for (uint64_t at = 0; at < file_.size();) {
      const size_t count = std::min<uint64_t>(piece.size(), file_.size() - at);
      file_.read(piece.data(), count, at);
      for (size_t i = 0; i < count; ++i) {
        if (piece[i] == '\n') {
          end_line(at + i);
        } else if (in_id && (piece[i] == '\t' || id.size() > 200)) {
          in_id = false;
        } else if (in_id) {
          id += piece[i];
        } else if (const void* next = std::memchr(piece.data() + i, '\n', count - i)) {
          i = static_cast<size_t>(static_cast<const char*>(next) - piece.data()) - 1;
        } else {
          break;
        }
      }
      at += count;
    }
    if (begin < file_.size()) end_line(file_.size());
    if (lines_.empty()) throw DataError(file_.path() + ": there is no line in it");
  }

  void add(const std::string& id, const Line& line, int64_t number) {
    if (line.bytes > kMostLineBytes) {
      throw DataError(fmt::format("{}:{}: the line has {} bytes, more than the {} that Muster takes", file_.path(),
                                  number, line.bytes, kMostLineBytes));
    }
    if (lines_.empty()) first_ = id;
    if (!lines_.emplace(id, line).second) {
      throw DataError(fmt::format("{}:{}: image {} was listed before; keep one", file_.path(), number, id));
    }
  }

  RawRegions parse(const Line& place) const {
    std::string line(place.bytes, '\0');
    file_.read(line.data(), line.size(), place.begin);
    if (line.back() == '\r') line.pop_back();
    std::vector<std::string_view> fields;
    for (size_t begin = 0; begin <= line.size();) {
      const size_t end = std::min(line.find('\t', begin), line.size());
      fields.push_back(std::string_view(line).substr(begin, end - begin));
      begin = end + 1;
    }
    if (fields.size() != kFields) {
      throw DataError(fmt::format("its line has {} fields between tabs, not the {} of bottom-up attention",
                                  fields.size(), kFields));
    }
    RawRegions raw;
    raw.width = number_of(fields[1], "width");
    raw.height = number_of(fields[2], "height");
    raw.count = number_of(fields[3], "number of boxes");
    raw.boxes = floats_of(fields[4], "boxes");
    raw.features = floats_of(fields[5], "features");
    if (raw.boxes.empty()) throw DataError("it has no boxes");
    return raw;
  }

  InputFile file_;
  std::unordered_map<std::string, Line> lines_;
  std::string first_;
};

}  // namespace

std::shared_ptr<const RegionSource> open_tsv_regions(const std::string& path, const RegionOptions& options) {
  return std::make_shared<TsvRegions>(path, options);
}

}  // namespace muster
