#include "dataloader/text/text_repair.h"

#include <algorithm>
#include <vector>

#include "dataloader/text/html_entities.h"

namespace muster {
namespace {

constexpr size_t kMaxSegment = 1000000;
constexpr char32_t kFirstWidthForm = 0xFF01, kLastWidthForm = 0xFFEF;

const std::vector<CodePoints>& width_forms() {
  static const std::vector<CodePoints> forms = [] {
    std::vector<CodePoints> table;
    for (char32_t c = kFirstWidthForm; c <= kLastWidthForm; ++c) table.push_back(normalize_nfkc(CodePoints(1, c)));
    return table;
  }();
  return forms;
}

const char32_t* latin_ligature(char32_t c) {
  switch (c) {
    case 0x132:
      return U"IJ";
    case 0x133:
      return U"ij";
    case 0x149:
      return U"\u02BCn";
    case 0x1C4:
      return U"D\u017D";
    case 0x1C5:
      return U"D\u017E";
    case 0x1C6:
      return U"d\u017E";
    case 0x1C7:
      return U"LJ";
    case 0x1C8:
      return U"Lj";
    case 0x1C9:
      return U"lj";
    case 0x1CA:
      return U"NJ";
    case 0x1CB:
      return U"Nj";
    case 0x1CC:
      return U"nj";
    case 0x1F1:
      return U"DZ";
    case 0x1F2:
      return U"Dz";
    case 0x1F3:
      return U"dz";
    case 0xFB00:
      return U"ff";
    case 0xFB01:
      return U"fi";
    case 0xFB02:
      return U"fl";
    case 0xFB03:
      return U"ffi";
    case 0xFB04:
      return U"ffl";
    case 0xFB05:
      return U"\u017Ft";
    case 0xFB06:
      return U"st";
    default:
      return nullptr;
  }
}

char32_t straight_quote(char32_t c) {
  if (c == 0x2BC || (c >= 0x2018 && c <= 0x201B)) return '\'';
  return c >= 0x201C && c <= 0x201F ? U'"' : c;
}

// Each of these repairs looks at one character; a character that one of them makes goes through those after it.
void repair_character(char32_t c, CodePoints& out) {
  if (c >= 0x80 && c <= 0x9F) c = windows_1252(c);
  if (const char32_t* letters = latin_ligature(c)) {
    for (; *letters != 0; ++letters) out.push_back(straight_quote(*letters));
  } else if (c == 0x3000) {
    out.push_back(' ');
  } else if (c >= kFirstWidthForm && c <= kLastWidthForm) {
    for (const char32_t form : width_forms()[c - kFirstWidthForm]) out.push_back(straight_quote(form));
  } else {
    out.push_back(straight_quote(c));
  }
}

CodePoints fix_line_breaks(const CodePoints& text) {
  CodePoints out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    out.push_back(c == '\r' || c == 0x2028 || c == 0x2029 || c == 0x85 ? U'\n' : c);
  }
  return out;
}

// ESC [ digits and semicolons, one ASCII letter.
CodePoints remove_terminal_escapes(const CodePoints& text) {
  CodePoints out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == 0x1B && i + 1 < text.size() && text[i + 1] == '[') {
      size_t end = i + 2;
      while (end < text.size() && (text[end] == ';' || is_decimal_digit(text[end]))) ++end;
      const char32_t last = end < text.size() ? (text[end] | 0x20) : 0;
      if (last >= 'a' && last <= 'z') {
        i = end;
        continue;
      }
    }
    out.push_back(text[i]);
  }
  return out;
}

bool is_unwanted_control(char32_t c) {
  return c <= 0x8 || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || (c >= 0x206A && c <= 0x206F) || c == 0xFEFF ||
         (c >= 0xFFF9 && c <= 0xFFFC);
}

CodePoints repair_once(const CodePoints& segment, bool unescape) {
  CodePoints out;
  for (const char32_t c : unescape ? unescape_html_strictly(segment) : segment) repair_character(c, out);
  out = remove_terminal_escapes(fix_line_breaks(out));
  out.erase(std::remove_if(out.begin(), out.end(), is_unwanted_control), out.end());
  return normalize_nfc(out);
}

}  // namespace

CodePoints repair_text(const CodePoints& text) {
  CodePoints out;
  bool unescape = true;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find(U'\n', begin);
    const size_t end = std::min(newline == CodePoints::npos ? text.size() : newline + 1, begin + kMaxSegment);
    CodePoints segment = text.substr(begin, end - begin);
    unescape = unescape && segment.find(U'<') == CodePoints::npos;
    while (true) {
      CodePoints repaired = repair_once(segment, unescape);
      if (repaired == segment) break;
      segment = std::move(repaired);
    }
    out += segment;
    begin = end;
  }
  return out;
}

}  // namespace muster
