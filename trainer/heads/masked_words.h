// MMRef's local reconstruction (mmref.md's reconstruction of Ma et al., 2025, section 1.5): masked words from the
// caption and the identity's reference.
//
//   Q = text tower's outputs on the masked caption, [L, d]
//   block: x += MSA(LN x), over the caption both ways;  x += FFN1(LN x);  x += MCA(LN x, K, V);  x += FFN2(LN x)
//   K, V from LN(reference tokens): the sample's own row, or `reference_tokens` linear images of it
//   l = -log softmax(W LN(GELU(D x)) + b)[word], at the masked places after the last block
//
// With one key attention is its value: MCA(x) = W_o W_v LN(R_y), and there are no W_q, W_k. First values as IRRA's
// (github.com/anosorae/IRRA, model/build.py), biases 0.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dataloader/dataloader.pb.h"
#include "dataloader/tokenizer.h"
#include "launch/checks.h"
#include "trainer/encoders/encoders.pb.h"
#include "trainer/heads/head.h"
#include "trainer/heads/heads.pb.h"

namespace muster {

// What is impossible, each naming its field. `model` as given: sizes that are missing are not looked at. `text`: what
// training does to captions.
void check_masked_words(const MaskedWordsConfig& config, const ModelConfig& model, const TextTransformConfig& text,
                        Checks& checks);

// `words`: of the tokenizer whose ids the batches hold. `seen`: the ids to predict among, ascending, for SEEN; a word
// that is not among them may be masked, but is not predicted. `model`: a resolved config.
std::shared_ptr<Head> make_masked_words(const MaskedWordsConfig& config, const ModelConfig& model,
                                        const Tokenizer::Ordinary& words, std::vector<int64_t> seen, uint64_t seed);

}  // namespace muster
