#include "dataloader/formats/json_items.h"

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/json.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 32;
constexpr size_t kMaxItemBytes = size_t{1} << 24;

}  // namespace

JsonItems::JsonItems(const std::string& path, const std::string& key)
    : path_(path), text_(read_file(path, kMaxFileBytes)) {
  if (text_.compare(0, 3, "\xef\xbb\xbf") == 0) at_ = 3;
  find_list(key);
}

void JsonItems::fail() const {
  throw DataError(path_ + ": not valid JSON (near byte " + std::to_string(at_ + 1) + "); is it complete?");
}

void JsonItems::skip_space() {
  at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size());
}

bool JsonItems::take(char c) {
  skip_space();
  if (at_ == text_.size() || text_[at_] != c) return false;
  ++at_;
  return true;
}

// Up to the comma or bracket that ends the value; brackets and strings in it are matched, nothing else is checked.
std::string_view JsonItems::take_value() {
  skip_space();
  const size_t begin = at_;
  int64_t depth = 0;
  for (bool in_string = false; at_ < text_.size(); ++at_) {
    const char c = text_[at_];
    if (in_string) {
      if (c == '\\') ++at_;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (depth == 0 && (c == ',' || c == ':' || c == '}' || c == ']')) {
      break;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  if (at_ >= text_.size() || at_ == begin) {
    at_ = std::min(at_, text_.size());
    fail();
  }
  return std::string_view(text_).substr(begin, at_ - begin);
}

void JsonItems::find_list(const std::string& key) {
  const std::string wanted = key.empty() ? path_ + " must hold a JSON list"
                                         : path_ + " must hold a JSON object with a list called \"" + key + "\"";
  if (key.empty()) {
    if (!take('[')) throw DataError(wanted + "; is it the right file?");
    return;
  }
  if (!take('{')) throw DataError(wanted + "; is it the right file?");
  do {
    if (take('}')) break;
    const std::string_view name = take_value();
    if (!take(':')) fail();
    if (name.substr(0, name.find_last_of('"') + 1) == '"' + key + '"' && take('[')) return;
    take_value();
  } while (take(','));
  throw DataError(wanted + "; is it the right file?");
}

bool JsonItems::next() {
  if (take(']')) return false;
  if (index_ >= 0 && !take(',')) fail();
  item_ = take_value();
  ++index_;
  return true;
}

nlohmann::json JsonItems::item() const {
  if (item_.size() > kMaxItemBytes) {
    throw DataError("an item of " + std::to_string(item_.size()) + " bytes; at most " + std::to_string(kMaxItemBytes) +
                    " are allowed: is it the right file?");
  }
  return parse_json(item_);
}

std::string JsonItems::where() const {
  return path_ + "[" + std::to_string(index_) + "]";
}

}  // namespace muster
