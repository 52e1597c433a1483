// What the heads add to a step: FLOP and memory of each, from the config and a few counts (step_cost.h).
#pragma once

#include <cstdint>

#include "trainer/step_cost.h"

namespace muster {

// How many words heads.masked_words hides in a caption of so many tokens, on average.
double expected_masked_words(const MaskedWordsConfig& config, int64_t caption_tokens);

// Tokens of a caption that the model's pass carries to the end for a head; 0: none but the end token.
int64_t carried_text_tokens(const StepJob& job);

// Whether the model's pass gives a head all patches.
bool carries_image_tokens(const StepJob& job);

// Of a sample, forward and backward, beside the model's pass.
double heads_flop(const StepJob& job);

// What the heads leave for the backward of so many rows, beside the model's pass: an estimate.
int64_t head_bytes(const StepJob& job, int64_t rows);

}  // namespace muster
