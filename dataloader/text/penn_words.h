// A caption cut into sentences and words as the Penn Treebank cuts them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace muster {

// The words of each sentence, in order, as NLTK's word_tokenize has them: punctuation apart, "she's" as "she" and "'s",
// "isn't" as "is" and "n't", hyphenated words whole. Two differences: quotation marks stay as they are, and a full stop
// between a lower-case and an upper-case letter ("shirt.He") ends a sentence, as its writer meant it. A sentence ends
// with ".", "?" or "!" before white space or the end; "St." and its like and single letters end none. Bytes beyond
// ASCII are letters, but for curly quotes.
std::vector<std::vector<std::string>> penn_words(std::string_view caption);

}  // namespace muster
