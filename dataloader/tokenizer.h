// From captions to token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "dataloader/dataloader.pb.h"

namespace muster {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Writes exactly `context` ids: the start token, the caption's ids (cut so that the end token fits), the end token,
  // and zeros. `caption` is UTF-8. context >= 2, else std::logic_error. Safe from any number of threads.
  // DataError: the caption is not valid UTF-8 (which byte); nothing is written then.
  virtual void encode(std::string_view caption, int64_t* ids, int64_t context) const = 0;

  // Every id is below this.
  virtual int64_t vocabulary() const = 0;

  // What masking works with: ids [first, end) are words and parts of words, `mask` stands for a hidden one.
  struct Ordinary {
    int64_t first = 0;
    int64_t end = 0;
    int64_t mask = 0;
  };
  virtual Ordinary ordinary() const = 0;

  // For people to read: the text between the start and the end token, with [MASK] for the mask. What encode() changed
  // or cut off stays so; bytes that are no UTF-8 are left as they are.
  virtual std::string decode(const int64_t* ids, int64_t context) const = 0;
};

// DataError: the merges or the vocabulary are missing or not of their format (which file, which line).
std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerConfig& config);

}  // namespace muster
