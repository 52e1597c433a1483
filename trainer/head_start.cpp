#include "trainer/head_start.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "dataloader/sample_list.h"
#include "launch/error.h"
#include "trainer/heads/identity_classifier.h"
#include "trainer/heads/image_restoration.h"
#include "trainer/heads/masked_words.h"

namespace muster {
namespace {

// Ids of words and parts of words in the training captions, as far as the model reads them, ascending.
std::vector<int64_t> seen_words(const RunSettings& settings, const TrainingStores& stores, const Tokenizer& tokenizer) {
  const Tokenizer::Ordinary ordinary = tokenizer.ordinary();
  std::vector<bool> seen(static_cast<size_t>(ordinary.end - ordinary.first));
  std::vector<int64_t> ids(static_cast<size_t>(settings.model.text().context()));
  const SampleList samples(stores, settings.data);
  for (size_t part = 0; part < stores.shares().size(); ++part) {
    const Store& store = *stores.shares()[part].store;
    for (const int64_t image : samples.images_of(part)) {
      for (int64_t i = 0; i < store.caption_count(image); ++i) {
        tokenizer.encode(store.caption(store.first_caption(image) + i), ids.data(), settings.model.text().context());
        for (const int64_t id : ids) {
          if (id >= ordinary.first && id < ordinary.end) seen[static_cast<size_t>(id - ordinary.first)] = true;
        }
      }
    }
  }
  std::vector<int64_t> words;
  for (size_t i = 0; i < seen.size(); ++i) {
    if (seen[i]) words.push_back(ordinary.first + static_cast<int64_t>(i));
  }
  if (words.empty()) {
    throw DataError(fmt::format("heads.masked_words: no caption of {} has a word to predict", stores.describe()));
  }
  return words;
}

}  // namespace

bool heads_need_references(const HeadsConfig& config) {
  return config.masked_words().weight() > 0 && config.masked_words().context() == MaskedWordsConfig::REFERENCE;
}

int64_t count_heads(const HeadsConfig& config) {
  int64_t count = 0;
  for (const double weight :
       {config.masked_words().weight(), config.image_restoration().weight(), config.identity_classifier().weight()}) {
    count += weight > 0 ? 1 : 0;
  }
  return count;
}

Heads make_heads(const RunSettings& settings, const TrainingStores& stores, const Tokenizer& tokenizer) {
  HeadData data;
  data.words = tokenizer.ordinary();
  const MaskedWordsConfig& words = settings.heads.masked_words();
  if (words.weight() > 0 && words.output() == MaskedWordsConfig::SEEN) {
    data.seen = seen_words(settings, stores, tokenizer);
  }
  if (settings.heads.identity_classifier().weight() > 0) {
    data.identities = SampleList(stores, settings.data).identities();
  }
  return make_heads(settings, data);
}

Heads make_heads(const RunSettings& settings, const HeadData& data) {
  Heads heads;
  const uint64_t seed = settings.train.seed();
  const MaskedWordsConfig& words = settings.heads.masked_words();
  if (words.weight() > 0) heads.push_back(make_masked_words(words, settings.model, data.words, data.seen, seed));
  const ImageRestorationConfig& restoration = settings.heads.image_restoration();
  if (restoration.weight() > 0) heads.push_back(make_image_restoration(restoration, settings.model, seed));
  const IdentityClassifierConfig& classifier = settings.heads.identity_classifier();
  if (classifier.weight() > 0) {
    heads.push_back(make_identity_classifier(classifier, settings.model, data.identities, seed));
  }
  return heads;
}

}  // namespace muster
