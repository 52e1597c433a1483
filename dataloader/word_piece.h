// BERT's uncased tokenizer: the ids of transformers' BertTokenizer (Wu et al., 2016; Devlin et al., 2019;
// github.com/google-research/bert, tokenization.py).
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dataloader/tokenizer.h"

namespace muster {

// Cleans (control characters out, lower case, accents off), cuts at white space, punctuation and CJK characters, and
// takes each word's longest pieces from the left. What looks like a special token, "[SEP]", is words as any others.
class WordPiece : public Tokenizer {
 public:
  // One piece a line, its id the line's number from 0; "##" before those that continue a word. DataError: missing, too
  // large, a piece twice, no [UNK], [CLS], [SEP] or [MASK], or another piece than [PAD] in the first line, which fills
  // up.
  explicit WordPiece(const std::string& vocabulary_path);

  void encode(std::string_view caption, int64_t* ids, int64_t context) const override;
  int64_t vocabulary() const override { return static_cast<int64_t>(pieces_.size()); }
  // Behind the special tokens and BERT's unused ones, the mask apart.
  Ordinary ordinary() const override { return {first_word_, vocabulary(), mask_}; }
  std::string decode(const int64_t* ids, int64_t context) const override;

 private:
  using Pieces = std::unordered_map<std::string_view, int64_t>;

  int64_t special(std::string_view piece, const std::string& path) const;
  void append_pieces(std::string_view word, std::vector<int64_t>& ids) const;

  std::string text_;                      // the file's; what the pieces point into
  std::vector<std::string_view> pieces_;  // by id
  Pieces starts_;                         // pieces that begin a word
  Pieces rests_;                          // those that continue one, without "##"
  int64_t unknown_ = 0, start_ = 0, end_ = 0, mask_ = 0, first_word_ = 0;
};

}  // namespace muster
