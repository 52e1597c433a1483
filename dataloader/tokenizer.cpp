#include "dataloader/tokenizer.h"

#include "dataloader/clip_bpe.h"
#include "dataloader/data_files.h"
#include "dataloader/word_piece.h"

namespace muster {

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerConfig& config) {
  if (config.kind() == TokenizerConfig::WORDPIECE) {
    return std::make_unique<WordPiece>(config.vocabulary().empty() ? default_data_file("minilm/vocab.txt")
                                                                   : config.vocabulary());
  }
  return std::make_unique<ClipBpe>(config.merges().empty() ? default_merges_path() : config.merges());
}

}  // namespace muster
