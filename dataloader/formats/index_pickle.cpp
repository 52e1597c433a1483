#include "dataloader/formats/index_pickle.h"

#include <fmt/format.h>

#include <charconv>

#include "launch/error.h"

namespace muster {
namespace {

class IndexPickle {
 public:
  IndexPickle(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  std::vector<std::pair<int64_t, int64_t>> parse() {
    while (step()) {
    }
    if (!has_dict_ || has_mark_ || !numbers_.empty() || at_ != bytes_.size()) fail("is no end of one dict");
    return std::move(items_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(fmt::format(
        "{}: byte {} {}; it must be a pickled dict of whole numbers, image ids to rows, and nothing else in it is read",
        where_, at_, what));
  }

  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) fail("is beyond its end");
    const std::string_view taken = bytes_.substr(at_, size);
    at_ += size;
    return taken;
  }

  // Little-endian, two's complement if `is_signed`.
  int64_t number(size_t size, bool is_signed) {
    const std::string_view digits = take(size);
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) value |= uint64_t{static_cast<uint8_t>(digits[i])} << (8 * i);
    if (is_signed && size > 0 && size < 8 && (value >> (8 * size - 1)) != 0) value |= ~uint64_t{0} << (8 * size);
    return static_cast<int64_t>(value);
  }

  std::string_view line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) fail("is beyond its end");
    const std::string_view text = take(end - at_);
    ++at_;
    return text;
  }

  // Python 2 and protocol 0: 17 or, of long integers, 17L.
  int64_t decimal(bool is_long) {
    std::string_view text = line();
    if (is_long && !text.empty() && text.back() == 'L') text.remove_suffix(1);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) fail("follows what is no number of 64 bits");
    return value;
  }

  int64_t long_number() {
    const auto size = static_cast<size_t>(number(1, false));
    if (size > 8) fail("opens a number of more than 64 bits");
    return number(size, true);
  }

  void open_dict() {
    if (has_dict_ || !numbers_.empty()) fail("opens a second value");
    has_dict_ = true;
  }

  // `all`: everything since the mark; else one item, and no mark.
  void put_items(bool all) {
    if (!has_dict_ || has_mark_ != all || numbers_.size() % 2 != 0 || (!all && numbers_.size() != 2)) {
      fail("fills the dict with no items");
    }
    for (size_t i = 0; i < numbers_.size(); i += 2) items_.emplace_back(numbers_[i], numbers_[i + 1]);
    numbers_.clear();
    has_mark_ = false;
  }

  // False at the end.
  bool step() {
    const char opcode = take(1)[0];
    switch (opcode) {
      case '\x80':  // PROTO
        if (const int64_t protocol = number(1, false); at_ != 2 || protocol > 5) fail("is of an unknown protocol");
        return true;
      case '\x95':  // FRAME
        take(8);
        return true;
      case '\x94':  // MEMOIZE; whole numbers are never taken from the memo
        return true;
      case 'q':  // BINPUT
        take(1);
        return true;
      case 'r':  // LONG_BINPUT
        take(4);
        return true;
      case 'p':  // PUT
        line();
        return true;
      case '}':  // EMPTY_DICT
        open_dict();
        return true;
      case '(':  // MARK
        if (has_mark_ || !numbers_.empty()) fail("is a mark within items");
        has_mark_ = true;
        return true;
      case 'd':  // DICT, in protocol 0 an empty one
        if (!has_mark_) fail("closes no dict");
        open_dict();
        has_mark_ = false;
        return true;
      case 's':  // SETITEM
      case 'u':  // SETITEMS
        put_items(opcode == 'u');
        return true;
      case '.':  // STOP
        return false;
      default:
        numbers_.push_back(whole_number(opcode));
        return true;
    }
  }

  int64_t whole_number(char opcode) {
    switch (opcode) {
      case 'I':  // INT
      case 'L':  // LONG
        return decimal(opcode == 'L');
      case 'J':  // BININT
        return number(4, true);
      case 'K':  // BININT1
        return number(1, false);
      case 'M':  // BININT2
        return number(2, false);
      case '\x8a':  // LONG1
        return long_number();
      default:
        --at_;
        fail(fmt::format("is opcode {:#04x}", static_cast<uint8_t>(opcode)));
    }
  }

  std::string_view bytes_;
  const std::string& where_;
  size_t at_ = 0;
  bool has_dict_ = false, has_mark_ = false;
  std::vector<int64_t> numbers_;  // not in the dict yet
  std::vector<std::pair<int64_t, int64_t>> items_;
};

}  // namespace

std::vector<std::pair<int64_t, int64_t>> parse_index_pickle(std::string_view bytes, const std::string& where) {
  return IndexPickle(bytes, where).parse();
}

}  // namespace muster
