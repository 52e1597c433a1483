// Characters as Python sees them: what str.lower(), str.split(), unicodedata.normalize() and the `regex` module decide,
// computed with utf8proc 2.8 (Unicode 15). All functions are pure.
#pragma once

#include <string>
#include <string_view>

namespace muster {

// One element per code point, never a surrogate.
using CodePoints = std::u32string;

// DataError "... not valid UTF-8 at byte N" (N counts from 0): overlong forms, surrogates and truncation included.
CodePoints decode_utf8(std::string_view bytes);
void append_utf8(char32_t c, std::string& bytes);
std::string encode_utf8(const CodePoints& text);

// regex's \p{L} and \p{N} at Unicode 16: utf8proc's categories and the letters and numbers assigned since.
bool is_letter(char32_t c);
bool is_number(char32_t c);
// regex's \s.
bool is_white_space(char32_t c);
// str.isspace(): the above and the four ASCII separators.
bool is_python_space(char32_t c);
// Nothing of it is seen: white space, control and format characters (zero width ones, bidirectional marks), fillers.
bool is_invisible(char32_t c);
// re's \d.
bool is_decimal_digit(char32_t c);

// str.lower(), with the final sigma and the dotted capital I.
CodePoints lower(const CodePoints& text);
// str.upper() of one character, where the result needs no context.
CodePoints upper(char32_t c);

// What the byte 0x80 + i means in Windows-1252, with its five holes passed through; c is in [0x80, 0x9F].
char32_t windows_1252(char32_t c);

// unicodedata.category() begins with C, is Mn, begins with P, is Zs.
bool is_control(char32_t c);
bool is_nonspacing_mark(char32_t c);
bool is_punctuation(char32_t c);
bool is_space_separator(char32_t c);

CodePoints normalize_nfc(const CodePoints& text);
CodePoints normalize_nfd(const CodePoints& text);
CodePoints normalize_nfkc(const CodePoints& text);

}  // namespace muster
