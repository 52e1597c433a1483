#include "dataloader/synth/ceiling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "dataloader/synth/caption.h"
#include "dataloader/synth/caption_words.h"
#include "dataloader/synth/colour_histogram.h"
#include "launch/error.h"

namespace muster::synth {
namespace {

struct Query {
  std::string text;
  int64_t image = 0;  // index in the gallery
};

// The first test images and the set's own captions of them.
struct Gallery {
  std::vector<int64_t> images;  // the set's numbers
  std::vector<int64_t> identity;
  std::vector<Query> queries;
};

std::vector<int64_t> first_images(const Set& set, Split split, int64_t most) {
  std::vector<int64_t> images;
  for (int64_t i = 0; i < set.images() && static_cast<int64_t>(images.size()) < most; ++i) {
    if (set.split(i / set.options().views) == split) images.push_back(i);
  }
  return images;
}

// Captions of an image that are not the set's own: their writers throw other dice.
std::vector<std::string> further_captions(const Set& set, int64_t image) {
  const Options& o = set.options();
  const int64_t identity = image / o.views, index = image % o.views;
  const Person person = make_person(o.seed, identity);
  const View view = make_view(o.seed, identity, index, person);
  std::vector<std::string> captions;
  for (int i = 0; i < kOracleCaptions; ++i) {
    const uint64_t other_dice = ~o.seed - static_cast<uint64_t>(i / kMaxCaptions);
    captions.push_back(write_caption(other_dice, identity, index, i % kMaxCaptions, person, view).text);
  }
  return captions;
}

// Share of the queries whose best-scored picture, the first of equals, is of their person. In percent.
double r1(const Gallery& gallery, const std::function<std::vector<double>(const std::string&)>& score) {
  int64_t right = 0;
  for (const Query& query : gallery.queries) {
    const std::vector<double> scores = score(query.text);
    const auto best = static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
    if (gallery.identity[best] == gallery.identity[static_cast<size_t>(query.image)]) ++right;
  }
  return 100.0 * static_cast<double>(right) / static_cast<double>(gallery.queries.size());
}

// log P(caption's features | picture), up to what is the same for every picture.
class Oracle {
 public:
  Oracle(const Set& set, const std::vector<int64_t>& images) : base_(images.size(), 0.0) {
    for (size_t i = 0; i < images.size(); ++i) {
      std::map<int, int> told;
      for (const std::string& caption : further_captions(set, images[i])) {
        for (const int feature : words_.of(caption, true)) ++told[feature];
      }
      postings_.resize(static_cast<size_t>(words_.count()));
      for (const auto& [feature, count] : told) {
        const double p = probability(count);
        base_[i] += std::log1p(-p) - std::log1p(-probability(0));
        const double gain = std::log(p / (1 - p)) - std::log(probability(0) / (1 - probability(0)));
        postings_[static_cast<size_t>(feature)].push_back({i, gain});
      }
    }
  }

  std::vector<double> score(const std::string& caption) {
    std::vector<double> scores = base_;
    for (const int feature : words_.of(caption, true, false)) {
      for (const auto& [image, gain] : postings_[static_cast<size_t>(feature)]) scores[image] += gain;
    }
    return scores;
  }

 private:
  static double probability(int count) {
    constexpr double kPrior = 0.02;  // of a caption that tells what no other did
    return (count + kPrior) / (kOracleCaptions + 2 * kPrior);
  }

  CaptionWords words_;
  std::vector<double> base_;
  std::vector<std::vector<std::pair<size_t, double>>> postings_;  // by feature
};

}  // namespace

Ceiling measure_ceiling(const Set& set) {
  Gallery gallery;
  gallery.images = first_images(set, Split::kTest, kCeilingImages);
  if (gallery.images.empty()) throw ConfigError("the set has no test images to measure; give --test-fraction");
  std::map<int64_t, int64_t> images_of;
  std::vector<StoreRecord> records;
  for (size_t i = 0; i < gallery.images.size(); ++i) {
    gallery.identity.push_back(gallery.images[i] / set.options().views);
    ++images_of[gallery.identity.back()];
    records.push_back(set.record(gallery.images[i]));
    for (const std::string& caption : records.back().captions) {
      gallery.queries.push_back({caption, static_cast<int64_t>(i)});
    }
  }
  Oracle oracle(set, gallery.images);
  ColourHistogram histogram(set, first_images(set, Split::kTrain, kHistogramImages), records);
  Ceiling ceiling;
  ceiling.gallery = static_cast<int64_t>(gallery.images.size());
  ceiling.queries = static_cast<int64_t>(gallery.queries.size());
  ceiling.oracle = r1(gallery, [&](const std::string& text) { return oracle.score(text); });
  ceiling.histogram = r1(gallery, [&](const std::string& text) { return histogram.score(text); });
  for (const int64_t identity : gallery.identity) {
    ceiling.chance += static_cast<double>(images_of[identity]);
  }
  ceiling.chance *= 100.0 / static_cast<double>(ceiling.gallery * ceiling.gallery);
  return ceiling;
}

}  // namespace muster::synth
