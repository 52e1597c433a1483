// Which heads a run has, and what they need to know of its data.
#pragma once

#include <cstdint>
#include <vector>

#include "dataloader/tokenizer.h"
#include "dataloader/training_stores.h"
#include "trainer/heads/head.h"
#include "trainer/run_settings.h"

namespace muster {

// Whether a head that the config asks for is to be given references.
bool heads_need_references(const HeadsConfig& config);

// How many heads the config asks for.
int64_t count_heads(const HeadsConfig& config);

// Those of weight above 0, with first values from the run's seed. Reads all training captions where a head predicts
// only words that are seen. DataError: no caption has a word.
Heads make_heads(const RunSettings& settings, const TrainingStores& stores, const Tokenizer& tokenizer);

// What heads are made from beside the settings.
struct HeadData {
  std::vector<int64_t> identities;  // all that batches hold, ascending
  Tokenizer::Ordinary words;
  std::vector<int64_t> seen;  // ascending, where a head predicts only words that are seen
};

// The same from these.
Heads make_heads(const RunSettings& settings, const HeadData& data);

}  // namespace muster
