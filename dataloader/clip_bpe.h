// CLIP's tokenizer: the ids of open_clip's SimpleTokenizer (github.com/mlfoundations/open_clip, tokenizer.py).
#pragma once

#include <string>
#include <vector>

#include "dataloader/text/byte_pairs.h"
#include "dataloader/tokenizer.h"

namespace muster {

// Cleans as the original does (ftfy, html.unescape twice, white space, lower case), cuts into words with its regular
// expression, and merges bytes. The one difference: ftfy's repair of mojibake is not done (see text/text_repair.h).
class ClipBpe : public Tokenizer {
 public:
  explicit ClipBpe(const std::string& merges_path) : byte_pairs_(merges_path) {}

  void encode(std::string_view caption, int64_t* ids, int64_t context) const override;
  int64_t vocabulary() const override { return BytePairs::kVocabulary; }
  // IRRA's: its mask takes the id of the last merge (49,405, "jekyll"), and id 0 ("!" inside a word) also fills up.
  Ordinary ordinary() const override { return {1, kMask, kMask}; }
  std::string decode(const int64_t* ids, int64_t context) const override;

 private:
  static constexpr int64_t kMask = BytePairs::kStart - 1;

  BytePairs byte_pairs_;
};

// bpe_simple_vocab_16e6.txt.gz of the running program: in share/ beside it, or in PREFIX/share/muster once installed.
std::string default_merges_path();

}  // namespace muster
