// Masked words from the rest of the caption and a context.
//
// Context REFERENCE, MMRef's local reconstruction (mmref.md's reconstruction of Ma et al., 2025, section 1.5):
//
//   Q = text tower's outputs on the masked caption, [L, d]
//   block: x += MSA(LN x), over the caption both ways;  x += FFN1(LN x);  x += MCA(LN x, K, V);  x += FFN2(LN x)
//   K, V from LN(reference tokens): the sample's own row, or `reference_tokens` linear images of it
//   l = -log softmax(W LN(GELU(D x)) + b)[word], at the masked places after the last block
//
// With one key attention is its value: MCA(x) = W_o W_v LN(R_y), and there are no W_q, W_k.
//
// Context IMAGE, implicit relation reasoning (Jiang and Ye, IRRA, CVPR 2023; github.com/anosorae/IRRA, model/build.py),
// with V the image tower's outputs for class token and patches, [1 + P, d]:
//
//   x = MHA(LN Q, LN V, LN V), without residual;  z = LN(blocks(x)), of self-attention over the caption both ways
//   l as above with z for x and QuickGELU, in the blocks too
//
// In both l is summed over the masked words. First values as IRRA's, biases 0.
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
