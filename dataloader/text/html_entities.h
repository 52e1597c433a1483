// HTML's named and numeric character references.
#pragma once

#include "dataloader/text/unicode.h"

namespace muster {

// Python's html.unescape(): the rules of HTML 5 (html.spec.whatwg.org, "Character reference state"), names without
// semicolon and invalid numbers included. (Python refuses decimal numbers of more than 4,300 digits; here they are
// U+FFFD.)
CodePoints unescape_html(const CodePoints& text);

// ftfy's unescape_html: only references that end in a semicolon, and names in capitals (&NTILDE;) where they mean
// nothing else.
CodePoints unescape_html_strictly(const CodePoints& text);

}  // namespace muster
