#pragma once

namespace muster {

// The named character references of HTML 5 (html.spec.whatwg.org, "Named character references"), separated by spaces:
// a name, ':' or '!' (the name is also known without semicolon), and the hexadecimal code points joined by '+'.
extern const char* const kHtmlEntities;

}  // namespace muster
