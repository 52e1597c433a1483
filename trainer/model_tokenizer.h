// The tokenizer of a run's captions.
#pragma once

#include <memory>

#include "dataloader/tokenizer.h"
#include "trainer/run_settings.h"

namespace muster {

// ConfigError: model.text.vocabulary has no row for the tokenizer's last ids. DataError as make_tokenizer().
std::unique_ptr<Tokenizer> make_model_tokenizer(const DataConfig& data, const ModelConfig& model);

}  // namespace muster
