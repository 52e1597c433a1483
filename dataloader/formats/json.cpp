#include "dataloader/formats/json.h"

#include <functional>
#include <set>
#include <vector>

#include "dataloader/formats/utf8.h"
#include "launch/error.h"

namespace muster {
namespace {

using nlohmann::json;

// Looks at the parser's events for what nlohmann itself lets pass.
class Guard {
 public:
  Guard(const std::string& opening, int max_depth) : opening_(opening), max_depth_(max_depth) {}

  bool operator()(int depth, json::parse_event_t event, const json& value) {
    if (event == json::parse_event_t::object_start) keys_.emplace_back();
    if (event == json::parse_event_t::object_end) keys_.pop_back();
    if (event == json::parse_event_t::key && !keys_.back().insert(value.get<std::string>()).second) {
      throw DataError(opening_ + "the key " + value.dump(-1, ' ', true) + " appears twice in one object; remove one");
    }
    if (depth >= max_depth_) {
      throw DataError(opening_ + "JSON nested deeper than " + std::to_string(max_depth_) + " levels is refused");
    }
    return true;
  }

 private:
  const std::string& opening_;
  int max_depth_;
  std::vector<std::set<std::string>> keys_;
};

// Hands on each member of the outermost object, and lets go of it.
class Members {
 public:
  Members(const std::string& opening, size_t max_members, size_t max_values, const TakeMember& take)
      : opening_(opening), max_members_(max_members), max_values_(max_values), take_(take) {}

  // Whether the value is kept.
  bool operator()(int depth, json::parse_event_t event, const json& value) {
    using Event = json::parse_event_t;
    if (depth == 0) {
      if (event != Event::object_start && event != Event::object_end) refuse("not a JSON object");
      return true;
    }
    if (depth == 1 && event == Event::key) {
      if (++members_ > max_members_) refuse("more than " + std::to_string(max_members_) + " entries");
      key_ = value.get<std::string>();
      values_ = 0;
      return true;
    }
    if (++values_ > max_values_) refuse("an entry of more than " + std::to_string(max_values_) + " values");
    if (depth > 1 || event == Event::object_start || event == Event::array_start) return true;
    take_(key_, value);
    return false;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const { throw DataError(opening_ + what); }

  const std::string& opening_;
  size_t max_members_, max_values_;
  const TakeMember& take_;
  std::string key_;
  size_t members_ = 0, values_ = 0;
};

json parse_guarded(std::string_view text, const std::string& opening, const json::parser_callback_t& guard) {
  check_utf8(text, opening);
  // nlohmann takes a zero byte for the end of the text.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    throw DataError(opening + "not valid JSON (a zero byte at column " + std::to_string(zero + 1) +
                    "); is the file damaged?");
  }
  try {
    return json::parse(text.begin(), text.end(), guard);
  } catch (const json::parse_error& error) {
    throw DataError(opening + "not valid JSON (near column " + std::to_string(error.byte) + "); is it complete?");
  } catch (const json::out_of_range&) {
    throw DataError(opening + "a number is too large; write a smaller one, or a string");
  }
}

}  // namespace

json parse_json(std::string_view text, const std::string& where, int max_depth) {
  const std::string opening = where.empty() ? "" : where + ": ";
  Guard guard(opening, max_depth);
  return parse_guarded(text, opening, std::ref(guard));
}

void parse_json_members(std::string_view text, const std::string& where, size_t max_members, size_t max_values,
                        const TakeMember& take) {
  const std::string opening = where.empty() ? "" : where + ": ";
  Guard guard(opening, kMaxJsonDepth);
  Members members(opening, max_members, max_values, take);
  parse_guarded(text, opening, [&](int depth, json::parse_event_t event, const json& value) {
    return guard(depth, event, value) && members(depth, event, value);
  });
}

std::string json_type_name(const json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "true or false";
  if (value.is_number()) return "a number";
  if (value.is_string()) return "a string";
  return value.is_array() ? "a list" : "an object";
}

}  // namespace muster
