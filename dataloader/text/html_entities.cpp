#include "dataloader/text/html_entities.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "dataloader/text/html_entity_table.h"

namespace muster {
namespace {

constexpr size_t kLongestName = 32;  // Python's pattern takes up to 32 characters before the semicolon

struct Entity {
  CodePoints value;
  bool needs_semicolon;
};
using Entities = std::unordered_map<std::string_view, Entity>;  // without the semicolon

Entities parse_table() {
  Entities entities;
  for (const char* p = kHtmlEntities; *p != 0;) {
    const char* mark = p;
    while (*mark != ':' && *mark != '!') ++mark;
    const std::string_view name(p, static_cast<size_t>(mark - p));
    Entity entity{{}, *mark == ':'};
    do {
      char* end = nullptr;
      entity.value.push_back(static_cast<char32_t>(std::strtoul(mark + 1, &end, 16)));
      mark = end;
    } while (*mark == '+');
    entities.emplace(name, std::move(entity));
    p = *mark == ' ' ? mark + 1 : mark;
  }
  return entities;
}

const Entities& entities() {
  static const Entities table = parse_table();
  return table;
}

bool is_ascii_digit(char32_t c) {
  return c >= '0' && c <= '9';
}
bool is_ascii_alphanumeric(char32_t c) {
  return is_ascii_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
int hex_digit(char32_t c) {
  if (is_ascii_digit(c)) return static_cast<int>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<int>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<int>(c - 'A') + 10;
  return -1;
}

// ASCII letters and digits as bytes; anything else cannot be a name.
std::string as_name(const CodePoints& text, size_t begin, size_t end) {
  std::string name;
  for (size_t i = begin; i < end; ++i) {
    if (!is_ascii_alphanumeric(text[i])) break;
    name.push_back(static_cast<char>(text[i]));
  }
  return name;
}

void append_numeric(uint32_t number, CodePoints& out) {
  if (number >= 0x80 && number <= 0x9F) {
    out.push_back(windows_1252(number));
  } else if (number == 0x0D) {
    out.push_back(0x0D);
  } else if (number == 0 || (number >= 0xD800 && number <= 0xDFFF) || number > 0x10FFFF) {
    out.push_back(0xFFFD);
  } else {
    const bool invalid = number <= 0x8 || (number >= 0xE && number <= 0x1F) || number == 0x7F || number == 0xB ||
                         (number >= 0xFDD0 && number <= 0xFDEF) || (number & 0xFFFE) == 0xFFFE;
    if (!invalid) out.push_back(number);
  }
}

// text[at] is '&' and text[at + 1] is '#'. Appends the character and returns the place after the reference, or returns
// `at` if there is none.
size_t replace_numeric(const CodePoints& text, size_t at, CodePoints& out) {
  size_t i = at + 2;
  const bool hexadecimal = i < text.size() && (text[i] == 'x' || text[i] == 'X');
  if (hexadecimal) ++i;
  const size_t digits = i;
  uint32_t number = 0;
  for (; i < text.size() && (hexadecimal ? hex_digit(text[i]) >= 0 : is_ascii_digit(text[i])); ++i) {
    number = std::min<uint32_t>(number * (hexadecimal ? 16 : 10) + static_cast<uint32_t>(hex_digit(text[i])), 0x110000);
  }
  if (i == digits) return at;
  append_numeric(number, out);
  return i < text.size() && text[i] == ';' ? i + 1 : i;
}

// text[at] is '&'. Appends what stands for the reference (at least the '&') and returns the place after what was read.
size_t replace_named(const CodePoints& text, size_t at, CodePoints& out) {
  size_t end = at + 1;
  const auto ends_name = [](char32_t c) {
    return c == '\t' || c == '\n' || c == '\f' || c == ' ' || c == '<' || c == '&' || c == '#' || c == ';';
  };
  while (end < text.size() && end - at <= kLongestName && !ends_name(text[end])) ++end;
  const bool semicolon = end > at + 1 && end < text.size() && text[end] == ';';
  const size_t after = semicolon ? end + 1 : end;
  const std::string name = as_name(text, at + 1, end);
  for (size_t size = name.size(); size >= 1; --size) {
    const auto found = entities().find(std::string_view(name).substr(0, size));
    if (found == entities().end()) continue;
    const bool closed = semicolon && at + 1 + size == end;
    if (found->second.needs_semicolon && !closed) continue;
    out += found->second.value;
    out.append(text, at + 1 + size + (closed ? 1 : 0), after - (at + 1 + size + (closed ? 1 : 0)));
    return after;
  }
  out.append(text, at, after - at);
  return after;
}

// A lower-case name written in capitals, where HTML gives the capitals no meaning of their own.
std::optional<CodePoints> capitalised_entity(const std::string& name) {
  std::string small = name;
  for (char& c : small) {
    if (c >= 'a' && c <= 'z') return std::nullopt;
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  const auto found = entities().find(small);
  if (found == entities().end()) return std::nullopt;
  for (size_t size = 1; size <= name.size(); ++size) {
    const auto prefix = entities().find(std::string_view(name).substr(0, size));
    if (prefix != entities().end() && !prefix->second.needs_semicolon) return std::nullopt;
  }
  CodePoints value;
  for (const char32_t c : found->second.value) value += upper(c);
  return value;
}

// `reference` is &name; or &#digits; as a whole.
CodePoints replace_strictly(const CodePoints& reference) {
  if (reference[1] == '#') {
    const CodePoints value = unescape_html(reference);
    return value.find(U';') == CodePoints::npos ? value : reference;
  }
  const std::string name = as_name(reference, 1, reference.size() - 1);
  const auto found = entities().find(name);
  if (found != entities().end()) return found->second.value;
  return capitalised_entity(name).value_or(reference);
}

}  // namespace

CodePoints unescape_html(const CodePoints& text) {
  if (text.find(U'&') == CodePoints::npos) return text;
  CodePoints out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    size_t next = i;
    if (text[i] == '&') {
      next = i + 1 < text.size() && text[i + 1] == '#' ? replace_numeric(text, i, out) : replace_named(text, i, out);
    }
    if (next == i) out.push_back(text[next++]);
    i = next;
  }
  return out;
}

CodePoints unescape_html_strictly(const CodePoints& text) {
  if (text.find(U'&') == CodePoints::npos) return text;
  constexpr size_t kLongest = 24;
  CodePoints out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '&') {
      const size_t begin = i + 1 < text.size() && text[i + 1] == '#' ? i + 2 : i + 1;
      size_t end = begin;
      while (end < text.size() && end - begin <= kLongest && is_ascii_alphanumeric(text[end])) ++end;
      if (end > begin && end - begin <= kLongest && end < text.size() && text[end] == ';') {
        out += replace_strictly(text.substr(i, end + 1 - i));
        i = end + 1;
        continue;
      }
    }
    out.push_back(text[i++]);
  }
  return out;
}

}  // namespace muster
