// The tokenizer of a run's captions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "dataloader/tokenizer.h"
#include "trainer/run_settings.h"

namespace muster {

// ConfigError: model.text.vocabulary has no row for the tokenizer's last ids. DataError as make_tokenizer().
std::unique_ptr<Tokenizer> make_model_tokenizer(const DataConfig& data, const ModelConfig& model);

inline constexpr size_t kMaxQueryBytes = 4096;

// Tokens [1, context] int64 of words that a stranger may have typed; what is beyond the context is not seen. `what`
// they are ("query"), and what they are `for_what` ("search for"), in messages. ConfigError: longer than
// kMaxQueryBytes; not UTF-8; without a word. Byte pairs have a token for every character that can be seen, so only an
// empty text, blanks, control characters and the tokenizer's own marks are without a word.
at::Tensor encode_words(const Tokenizer& tokenizer, const std::string& words, int64_t context, const std::string& what,
                        const std::string& for_what);

}  // namespace muster
