#include "dataloader/text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <new>

#include "launch/error.h"

namespace muster {
namespace {

struct Range {
  char32_t first, last;
};

// Letters and numbers of Unicode 15.1 and 16.
constexpr Range kNewLetters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D4A, 0x10D65},
    {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E},
    {0x11390, 0x113B5}, {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0},
    {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
    {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D},
};
constexpr Range kNewNumbers[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x16130, 0x16139},
    {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA},
};
// Word_Break MidLetter, MidNumLet and Single_Quote: Case_Ignorable beyond the categories Mn, Me, Cf, Lm and Sk.
constexpr Range kCaseIgnorable[] = {
    {0x27, 0x27},     {0x2E, 0x2E},     {0x3A, 0x3A},     {0xB7, 0xB7},     {0x387, 0x387},   {0x55F, 0x55F},
    {0x5F4, 0x5F4},   {0x2018, 0x2019}, {0x2024, 0x2024}, {0x2027, 0x2027}, {0xFE13, 0xFE13}, {0xFE52, 0xFE52},
    {0xFE55, 0xFE55}, {0xFF07, 0xFF07}, {0xFF0E, 0xFF0E}, {0xFF1A, 0xFF1A},
};
// Other_Uppercase and Other_Lowercase that are not case-ignorable: Cased beyond the categories Lu, Ll and Lt.
constexpr Range kCased[] = {
    {0xAA, 0xAA},       {0xBA, 0xBA},       {0x2160, 0x217F},   {0x24B6, 0x24E9},
    {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189},
};

template <size_t n>
bool contains(const Range (&ranges)[n], char32_t c) {
  const Range* after = std::upper_bound(std::begin(ranges), std::end(ranges), c,
                                        [](char32_t value, const Range& range) { return value < range.first; });
  return after != std::begin(ranges) && c <= std::prev(after)->last;
}

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_case_ignorable(char32_t c) {
  const utf8proc_category_t k = category(c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
         k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK || contains(kCaseIgnorable, c);
}

bool is_cased(char32_t c) {
  const utf8proc_category_t k = category(c);
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT || contains(kCased, c);
}

// Unicode 15, 3.13, table 3-17: a sigma after a cased letter and before none, case-ignorable characters not counted.
bool is_final_sigma(const CodePoints& text, size_t i) {
  size_t before = i;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t after = i + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

CodePoints normalize(const CodePoints& text, int form) {
  const std::string bytes = encode_utf8(text);
  utf8proc_uint8_t* raw = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(bytes.data()), static_cast<utf8proc_ssize_t>(bytes.size()),
                   &raw, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | form));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(raw, &std::free);
  if (size < 0) throw std::bad_alloc();  // of valid UTF-8 only memory can fail
  return decode_utf8({reinterpret_cast<const char*>(raw), static_cast<size_t>(size)});
}

}  // namespace

CodePoints decode_utf8(std::string_view bytes) {
  CodePoints text;
  text.reserve(bytes.size());
  const auto* data = reinterpret_cast<const utf8proc_uint8_t*>(bytes.data());
  for (size_t i = 0; i < bytes.size();) {
    utf8proc_int32_t c = 0;
    const utf8proc_ssize_t used = utf8proc_iterate(data + i, static_cast<utf8proc_ssize_t>(bytes.size() - i), &c);
    if (used <= 0) throw DataError("the text is not valid UTF-8 at byte " + std::to_string(i) + ": save it as UTF-8");
    text.push_back(static_cast<char32_t>(c));
    i += static_cast<size_t>(used);
  }
  return text;
}

void append_utf8(char32_t c, std::string& bytes) {
  utf8proc_uint8_t buffer[4];
  const utf8proc_ssize_t size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), buffer);
  bytes.append(reinterpret_cast<const char*>(buffer), static_cast<size_t>(size));
}

std::string encode_utf8(const CodePoints& text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (const char32_t c : text) append_utf8(c, bytes);
  return bytes;
}

bool is_letter(char32_t c) {
  const utf8proc_category_t k = category(c);
  return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) || contains(kNewLetters, c);
}

bool is_number(char32_t c) {
  const utf8proc_category_t k = category(c);
  return (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO) || contains(kNewNumbers, c);
}

bool is_white_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_python_space(char32_t c) {
  return is_white_space(c) || (c >= 0x1C && c <= 0x1F);
}

bool is_invisible(char32_t c) {
  const utf8proc_category_t k = category(c);
  const bool filler = c == 0x034F || c == 0x115F || c == 0x1160 || c == 0x2800 || c == 0x3164 || c == 0xFFA0;
  return filler || k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL || k == UTF8PROC_CATEGORY_ZP ||
         k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || (c >= 0xFE00 && c <= 0xFE0F);
}

bool is_decimal_digit(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_ND;
}

CodePoints lower(const CodePoints& text) {
  CodePoints result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == 0x130) {
      result += U"i\u0307";
    } else if (c == 0x3A3) {
      result += is_final_sigma(text, i) ? U'\u03C2' : U'\u03C3';
    } else {
      result += static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
    }
  }
  return result;
}

CodePoints upper(char32_t c) {
  switch (c) {
    case 0xDF:
      return U"SS";
    case 0x149:
      return U"\u02BCN";
    case 0xFB00:
      return U"FF";
    case 0xFB01:
      return U"FI";
    case 0xFB02:
      return U"FL";
    case 0xFB03:
      return U"FFI";
    case 0xFB04:
      return U"FFL";
    default:
      return CodePoints(1, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
  }
}

bool is_control(char32_t c) {
  constexpr utf8proc_category_t kControls[] = {UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CF, UTF8PROC_CATEGORY_CS,
                                               UTF8PROC_CATEGORY_CO, UTF8PROC_CATEGORY_CN};
  return std::count(std::begin(kControls), std::end(kControls), category(c)) > 0;
}

bool is_nonspacing_mark(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_MN;
}

bool is_punctuation(char32_t c) {
  const utf8proc_category_t k = category(c);
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool is_space_separator(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_ZS;
}

char32_t windows_1252(char32_t c) {
  constexpr char32_t kCharacters[32] = {0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021,
                                        0x2C6,  0x2030, 0x160,  0x2039, 0x152,  0x8D,   0x17D,  0x8F,
                                        0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                        0x2DC,  0x2122, 0x161,  0x203A, 0x153,  0x9D,   0x17E,  0x178};
  return kCharacters[c - 0x80];
}

CodePoints normalize_nfc(const CodePoints& text) {
  const bool changes = std::any_of(text.begin(), text.end(), [](char32_t c) { return c >= 0x300; });
  return changes ? normalize(text, UTF8PROC_COMPOSE) : text;
}

CodePoints normalize_nfd(const CodePoints& text) {
  const bool changes = std::any_of(text.begin(), text.end(), [](char32_t c) { return c >= 0xC0; });
  return changes ? normalize(text, UTF8PROC_DECOMPOSE) : text;
}

CodePoints normalize_nfkc(const CodePoints& text) {
  return normalize(text, UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
}

}  // namespace muster
