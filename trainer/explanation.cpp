#include "trainer/explanation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "launch/error.h"
#include "trainer/losses/objective.h"
#include "trainer/model_tokenizer.h"
#include "trainer/thumbnail.h"

namespace muster {
namespace {

constexpr int64_t kSamples = 4;      // of a report
constexpr double kShortest = 1e-12;  // a row below it has cosines of about 0, as in the losses

std::vector<std::array<float, 4>> boxes_of(const Store& store, int64_t image) {
  const auto count = static_cast<size_t>(store.region_count(image));
  std::vector<uint16_t> features(count * static_cast<size_t>(store.region_width()));
  std::vector<std::array<float, 4>> boxes(count);
  store.read_regions(image, features.data(), boxes[0].data());
  return boxes;
}

// The cosines of each word with each region, of both raw.
void add_cosines(const at::Tensor& words, const at::Tensor& regions, ExplainedPair& pair) {
  const auto unit = [](const at::Tensor& raw) {
    const at::Tensor rows = raw.to(at::kCPU, at::kDouble);
    return rows / rows.norm(2, {1}, true).clamp_min(kShortest);
  };
  const at::Tensor all = at::matmul(unit(words), unit(regions).t()).contiguous();
  for (int64_t word = 0; word < all.size(0); ++word) {
    const double* row = all.const_data_ptr<double>() + word * all.size(1);
    if (!std::all_of(row, row + all.size(1), [](double cosine) { return std::isfinite(cosine); })) {
      throw NonFiniteError(fmt::format(
          "the model makes features of {} that are not finite; take an earlier checkpoint (--checkpoint)", pair.image));
    }
    pair.words[static_cast<size_t>(word)].cosines.assign(row, row + all.size(1));
  }
}

}  // namespace

std::vector<CaptionPiece> caption_pieces(const Tokenizer& tokenizer, const int64_t* ids, int64_t count) {
  std::vector<CaptionPiece> pieces;
  std::string before;
  for (int64_t i = 0; i < count; ++i) {
    const std::string upto = tokenizer.decode(ids, i + 2);
    const std::string more = upto.substr(std::min(before.size(), upto.size()));
    const size_t first = more.find_first_not_of(' ');
    pieces.push_back({first == std::string::npos ? "" : more.substr(first), !before.empty() && first == 0});
    before = upto;
  }
  return pieces;
}

std::string score_rule(const Alignment& alignment) {
  std::string rule;
  if (alignment.over_regions) {
    rule = fmt::format("the {} over words of the best region's cosine", alignment.mean_over_words ? "mean" : "sum");
  }
  if (alignment.over_words) {
    rule += fmt::format("{}the sum over regions of the best word's cosine{}", rule.empty() ? "" : " plus ",
                        alignment.floor_at_zero ? ", at least 0 each" : "");
  }
  return rule;
}

void score_pair(const Alignment& alignment, ExplainedPair& pair) {
  pair.score = 0;
  pair.words_count = alignment.over_regions;
  pair.regions_count = alignment.over_words;
  pair.score_rule = score_rule(alignment);
  if (pair.words.empty()) return;
  for (const ExplainedWord& word : pair.words) {
    if (alignment.over_regions) pair.score += *std::max_element(word.cosines.begin(), word.cosines.end());
  }
  if (alignment.mean_over_words) pair.score /= static_cast<double>(pair.words.size());
  for (size_t region = 0; region < pair.boxes.size(); ++region) {
    ExplainedWord* best = &pair.words[0];
    for (ExplainedWord& word : pair.words) {
      if (word.cosines[region] > best->cosines[region]) best = &word;
    }
    const double cosine = alignment.floor_at_zero ? std::max(best->cosines[region], 0.0) : best->cosines[region];
    best->chosen_by += 1;
    best->chosen_by_cosines += cosine;
    if (alignment.over_words) pair.score += cosine;
  }
}

Explainer::Explainer(Model& model, const Store& store, const RunSettings& settings)
    : model_(model),
      store_(store),
      alignment_(make_alignment(settings.objective.alignment())),
      drop_last_word_(settings.model.regions().drop_last_word()),
      tokenizer_(make_model_tokenizer(settings.data, settings.model)),
      reader_(store, settings.data, input_size(settings.model), *tokenizer_) {}

ExplainedPair Explainer::explain(int64_t image, const std::string& caption, const at::Tensor& tokens,
                                 int pixels) const {
  ExplainedPair pair;
  pair.caption = caption;
  pair.image = store_.source_path(image);
  pair.identity = store_.identity_name(store_.identity(image));
  if (store_.image_size(image) > 0) pair.picture = thumbnail(store_, image, pixels);
  pair.width = store_.width(image);
  pair.height = store_.height(image);
  pair.boxes = boxes_of(store_, image);
  const at::NoGradGuard no_graph;
  const bool was_training = model_.is_training();
  model_.eval();
  const SetRows regions = model_.encode_image_sets(reader_.images({image})).set;
  const SetRows words = model_.encode_text_sets(tokens).set;
  model_.train(was_training);
  const std::vector<CaptionPiece> pieces =
      caption_pieces(*tokenizer_, tokens.const_data_ptr<int64_t>(), words.sizes[0] + (drop_last_word_ ? 1 : 0));
  for (size_t word = 0; word < static_cast<size_t>(words.sizes[0]); ++word) {
    pair.words.push_back({pieces[word].text, pieces[word].continues, {}});
  }
  if (drop_last_word_) pair.left_out = pieces.back().text;
  add_cosines(words.rows, regions.rows, pair);
  score_pair(alignment_, pair);
  return pair;
}

ExplainedPair Explainer::explain(int64_t image, int64_t caption, int pixels) const {
  return explain(image, store_.caption(caption), reader_.tokens({caption}), pixels);
}

std::vector<ExplainedPair> explain_samples(Model& model, const Store& store, const SplitEmbeddings& split,
                                           const RunSettings& settings) {
  const Explainer explainer(model, store, settings);
  std::vector<ExplainedPair> pairs;
  const auto total = static_cast<int64_t>(split.captions.size()), count = std::min(total, kSamples);
  for (int64_t i = 0; i < count; ++i) {
    const auto place = static_cast<size_t>(i * total / count);
    pairs.push_back(explainer.explain(split.caption_images[place], split.captions[place], kThumbnailPixels));
  }
  return pairs;
}

}  // namespace muster
