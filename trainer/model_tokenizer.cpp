#include "trainer/model_tokenizer.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "dataloader/text/escaped.h"
#include "launch/error.h"

namespace muster {

std::unique_ptr<Tokenizer> make_model_tokenizer(const DataConfig& data, const ModelConfig& model) {
  std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(data.tokenizer());
  if (model.text().vocabulary() >= tokenizer->vocabulary()) return tokenizer;
  throw ConfigError(fmt::format("model.text.vocabulary is {}, and the tokenizer gives ids up to {}: give {} or more",
                                model.text().vocabulary(), tokenizer->vocabulary() - 1, tokenizer->vocabulary()));
}

at::Tensor encode_words(const Tokenizer& tokenizer, const std::string& words, int64_t context, const std::string& what,
                        const std::string& for_what) {
  if (words.size() > kMaxQueryBytes) {
    throw ConfigError(fmt::format("the {} has {} bytes: give at most {}, in the words of a caption", what, words.size(),
                                  kMaxQueryBytes));
  }
  at::Tensor tokens = at::empty({1, context}, at::kLong);
  auto* ids = tokens.mutable_data_ptr<int64_t>();
  try {
    tokenizer.encode(words, ids, context);
  } catch (const DataError&) {
    throw ConfigError(fmt::format("the {} '{}' is not UTF-8; give it as UTF-8 text", what, escaped(words)));
  }
  if (tokenizer.decode(ids, context).empty()) {
    throw ConfigError(
        fmt::format("the {} '{}' has no word to {}: describe what the picture shows, such as "
                    "\"a man in a red coat\"",
                    what, escaped(words), for_what));
  }
  return tokens;
}

}  // namespace muster
