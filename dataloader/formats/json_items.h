// The items of one long list in a JSON file, one after the other, so that no tree of the whole is ever built.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace muster {

class JsonItems {
 public:
  // The list is the document itself, or, with a key, the value of that key in the document's object. DataError: cannot
  // be read, has more than 4 GiB, is no such list.
  explicit JsonItems(const std::string& path, const std::string& key = "");

  // Cuts out the next item; false at the end of the list. DataError: what stands there is no list of JSON values.
  bool next();
  // The item last cut out. DataError, without the place: not valid JSON (see parse_json), more than 16 MiB.
  nlohmann::json item() const;
  // "path[17]": the item last cut out, counted from 0 as Python does.
  std::string where() const;

 private:
  void find_list(const std::string& key);
  void skip_space();
  bool take(char c);
  std::string_view take_value();
  [[noreturn]] void fail() const;

  std::string path_;
  std::string text_;
  size_t at_ = 0;
  int64_t index_ = -1;
  std::string_view item_;
};

}  // namespace muster
