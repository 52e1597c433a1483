#include "dataloader/formats/tar_reader.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "launch/error.h"

namespace muster {
namespace {

constexpr uint64_t kBlock = 512;
constexpr uint64_t kMaxExtensionBytes = uint64_t{1} << 20;
constexpr uint64_t kMaxNumber = uint64_t{1} << 62;

std::string_view until_zero(std::string_view field) {
  return field.substr(0, std::min(field.find('\0'), field.size()));
}

// Octal digits between spaces, or, with the first bit set, a big-endian number. kMaxNumber where it is neither.
uint64_t number_of(std::string_view field) {
  uint64_t value = 0;
  if ((static_cast<uint8_t>(field[0]) & 0x80U) != 0) {
    if (static_cast<uint8_t>(field[0]) != 0x80U) return kMaxNumber;
    for (const char c : field.substr(1)) {
      if (value >= kMaxNumber >> 8U) return kMaxNumber;
      value = value << 8U | static_cast<uint8_t>(c);
    }
    return value;
  }
  field = until_zero(field);
  while (!field.empty() && field.front() == ' ') field.remove_prefix(1);
  while (!field.empty() && field.back() == ' ') field.remove_suffix(1);
  for (const char c : field) {
    if (c < '0' || c > '7' || value >= kMaxNumber >> 3U) return kMaxNumber;
    value = value << 3U | static_cast<uint64_t>(c - '0');
  }
  return value;
}

uint64_t decimal_of(std::string_view digits) {
  uint64_t value = 0;
  if (digits.empty()) return kMaxNumber;
  for (const char c : digits) {
    if (c < '0' || c > '9' || value >= kMaxNumber / 10) return kMaxNumber;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

}  // namespace

struct TarReader::Header {
  uint64_t at = 0;
  std::array<char, kBlock> block{};

  std::string_view field(size_t begin, size_t size) const { return std::string_view(block.data() + begin, size); }
  char type() const { return block[156]; }
  uint64_t size() const { return number_of(field(124, 12)); }
  bool is_zero() const {
    return std::all_of(block.begin(), block.end(), [](char c) { return c == 0; });
  }

  // The sum of all bytes, the checksum's own counted as spaces; some old programs summed signed bytes.
  bool has_right_checksum() const {
    int64_t bytes = 0, chars = 0;
    for (size_t i = 0; i < kBlock; ++i) {
      const char c = i >= 148 && i < 156 ? ' ' : block[i];
      bytes += static_cast<uint8_t>(c);
      chars += static_cast<signed char>(c);
    }
    const auto written = static_cast<int64_t>(number_of(field(148, 8)));
    return written == bytes || written == chars;
  }

  std::string name() const {
    std::string text(until_zero(field(0, 100)));
    const bool is_ustar = field(257, 6) == std::string_view("ustar\0", 6);
    if (const std::string_view prefix = until_zero(field(345, 155)); is_ustar && !prefix.empty())
      text = std::string(prefix) + "/" + text;
    return text;
  }
};

TarReader::TarReader(const std::string& path) : file_(path) {
  std::array<char, 4> magic{};
  file_.read(magic.data(), std::min<uint64_t>(magic.size(), file_.size()), 0);
  const std::string_view start(magic.data(), magic.size());
  if (start.substr(0, 2) == "\x1f\x8b" || start == "\x28\xb5\x2f\xfd" || start.substr(0, 3) == "BZh") {
    throw DataError(path + " is compressed; unpack it first (gunzip, zstd -d): images are read where they lie");
  }
}

void TarReader::fail(uint64_t at, const std::string& what) const {
  throw DataError(file_.path() + ": " + what + " (header at byte " + std::to_string(at) +
                  "); it is damaged or no tar file: copy or make it again");
}

bool TarReader::read_header(Header& header) {
  header.at = at_;
  if (at_ == file_.size()) return false;
  if (file_.size() - at_ < kBlock) fail(at_, "it ends within a header");
  file_.read(header.block.data(), kBlock, at_);
  if (header.is_zero()) return false;
  if (!header.has_right_checksum()) fail(at_, "a header's checksum is wrong");
  const bool has_data = header.type() < '1' || header.type() > '6';
  const uint64_t size = has_data ? header.size() : 0;
  if (size > file_.size() - at_ - kBlock) fail(at_, "a member goes beyond the end of the file");
  const uint64_t padded = (size + kBlock - 1) / kBlock * kBlock;
  at_ = std::min(at_ + kBlock + padded, file_.size());
  return true;
}

// Records "LENGTH KEY=VALUE\n", where LENGTH counts all of the record.
void TarReader::read_pax(const Header& header, Member& member, bool& has_size) const {
  const std::string text = read({"a pax header", header.at + kBlock, header.size()}, kMaxExtensionBytes);
  for (size_t begin = 0; begin < text.size();) {
    const size_t space = text.find(' ', begin);
    const uint64_t length =
        space == std::string::npos ? kMaxNumber : decimal_of(std::string_view(text).substr(begin, space - begin));
    if (length > text.size() - begin || begin + length < space + 2)
      fail(header.at, "a pax header is no list of records");
    const std::string record = text.substr(space + 1, begin + length - space - 2);
    begin += length;
    const size_t equals = record.find('=');
    const std::string key = record.substr(0, equals);
    if (equals == std::string::npos) continue;
    if (key == "path") member.name = record.substr(equals + 1);
    if (key.rfind("GNU.sparse", 0) == 0) fail(header.at, "it holds a sparse file, which is not read here");
    if (key != "size") continue;
    has_size = true;
    member.bytes = decimal_of(std::string_view(record).substr(equals + 1));
  }
}

bool TarReader::next(Member& member) {
  Member extended;
  bool has_size = false;
  for (Header header; read_header(header);) {
    const char type = header.type();
    if (type == 'S') fail(header.at, "it holds a sparse file, which is not read here");
    if (type == 'x') read_pax(header, extended, has_size);
    if (type == 'L')
      extended.name = until_zero(read({"a long name", header.at + kBlock, header.size()}, kMaxExtensionBytes));
    if (type == 'x' || type == 'L' || type == 'g' || type == 'K') continue;
    if (type != '0' && type != '\0' && type != '7') {
      extended = Member();
      has_size = false;
      continue;
    }
    member.name = extended.name.empty() ? header.name() : extended.name;
    member.begin = header.at + kBlock;
    member.bytes = has_size ? extended.bytes : header.size();
    if (member.bytes > file_.size() - member.begin) fail(header.at, "a member goes beyond the end of the file");
    if (has_size) at_ = std::min(member.begin + (member.bytes + kBlock - 1) / kBlock * kBlock, file_.size());
    const bool is_folder = !member.name.empty() && member.name.back() == '/';
    if (!is_folder) return true;
  }
  return false;
}

std::string TarReader::read(const Member& member, uint64_t max_bytes) const {
  if (member.bytes > max_bytes) {
    throw DataError(member.name + " has " + std::to_string(member.bytes) + " bytes; at most " +
                    std::to_string(max_bytes) + " are read here");
  }
  std::string bytes(member.bytes, '\0');
  file_.read(bytes.data(), bytes.size(), member.begin);
  return bytes;
}

}  // namespace muster
