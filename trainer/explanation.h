// Which regions of an image the words of a caption find, by a model of regions and words.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/evaluation_reader.h"
#include "dataloader/store.h"
#include "dataloader/tokenizer.h"
#include "trainer/encoders/model.h"
#include "trainer/evaluation.h"
#include "trainer/report/explained_pair.h"
#include "trainer/run_settings.h"

namespace muster {

// What a token stands for, without the blank before it; `continues`: the word of the token before.
struct CaptionPiece {
  std::string text;
  bool continues = false;
};
// Of the `count` tokens behind the start token.
std::vector<CaptionPiece> caption_pieces(const Tokenizer& tokenizer, const int64_t* ids, int64_t count);

// How the score is made of the cosines, for people: "the sum over words of ...".
std::string score_rule(const Alignment& alignment);

// Fills in the words' choices and the score from the pair's cosines [region][word]. Alignment::floor_at_zero is for all
// captions, as in evaluation.
void score_pair(const Alignment& alignment, ExplainedPair& pair);

class Explainer {
 public:
  // Model and store must outlive it; the model is put into evaluation mode and back at each call. ConfigError: as
  // EvaluationReader, such as a store without regions. std::logic_error: a model without sets (has_sets()).
  Explainer(Model& model, const Store& store, const RunSettings& settings);

  const Tokenizer& tokenizer() const { return *tokenizer_; }

  // A caption in words; `tokens` [1, L]. Its picture is one of at most `pixels` on its longer side, or none where the
  // store has none. DataError: damaged. NonFiniteError: the model makes features that are not finite.
  ExplainedPair explain(int64_t image, const std::string& caption, const at::Tensor& tokens, int pixels) const;
  // The same of a caption of the store.
  ExplainedPair explain(int64_t image, int64_t caption, int pixels) const;

 private:
  Model& model_;
  const Store& store_;
  Alignment alignment_;
  bool drop_last_word_;
  std::unique_ptr<Tokenizer> tokenizer_;
  EvaluationReader reader_;
};

// Some captions of a split with their own images, taken evenly, for the report.
std::vector<ExplainedPair> explain_samples(Model& model, const Store& store, const SplitEmbeddings& split,
                                           const RunSettings& settings);

}  // namespace muster
