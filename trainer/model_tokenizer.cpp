#include "trainer/model_tokenizer.h"

#include <fmt/format.h>

#include "launch/error.h"

namespace muster {

std::unique_ptr<Tokenizer> make_model_tokenizer(const DataConfig& data, const ModelConfig& model) {
  std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(data.tokenizer());
  if (model.text().vocabulary() >= tokenizer->vocabulary()) return tokenizer;
  throw ConfigError(fmt::format("model.text.vocabulary is {}, and the tokenizer gives ids up to {}: give {} or more",
                                model.text().vocabulary(), tokenizer->vocabulary() - 1, tokenizer->vocabulary()));
}

}  // namespace muster
