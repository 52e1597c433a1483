// The repairs that ftfy makes (github.com/rspeer/python-ftfy, version 6.3.1, fix_text with its defaults), which CLIP's
// tokenizer applies before anything else.
#pragma once

#include "dataloader/text/unicode.h"

namespace muster {

// Done, as ftfy does it: HTML references (unless a '<' came before or in the same line), C1 controls as Windows-1252,
// Latin ligatures, full and half width forms, curly quotes, line breaks, terminal escapes, control characters and byte
// order marks, NFC; repeated until nothing changes. Surrogates cannot occur in UTF-8.
//
// Not done: fix_encoding, the repair of text that was decoded with the wrong encoding (mojibake such as "voilÃ "), with
// its parts restore_byte_a0, replace_lossy_sequences and decode_inconsistent_utf8. Such text keeps its characters.
CodePoints repair_text(const CodePoints& text);

}  // namespace muster
