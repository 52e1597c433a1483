// A cautious door to nlohmann's JSON parser, for files made by others.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace muster {

constexpr int kMaxJsonDepth = 32;

// Parses one whole JSON document. `where` (a file), if given, opens every message. DataError: not JSON (with the
// column), not UTF-8, a zero byte, a key twice in one object, nested deeper than max_depth. The caller caps the size of
// the text.
nlohmann::json parse_json(std::string_view text, const std::string& where = "", int max_depth = kMaxJsonDepth);

// Parses one whole JSON object of many members: calls take(key, value) for each as soon as it is read, and holds one at
// a time. DataError as parse_json(); also no object, more than `max_members`, a member of more than `max_values`
// values.
using TakeMember = std::function<void(const std::string& key, const nlohmann::json& value)>;
void parse_json_members(std::string_view text, const std::string& where, size_t max_members, size_t max_values,
                        const TakeMember& take);

// "a string", "a list", ...: what a value is, for messages.
std::string json_type_name(const nlohmann::json& value);

}  // namespace muster
