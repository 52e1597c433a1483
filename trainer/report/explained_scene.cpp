#include "trainer/report/explained_scene.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <tuple>

#include "trainer/report/html_text.h"

namespace muster {
namespace {

constexpr size_t kColours = 12;
constexpr double kShownWidth = 520, kShownHeight = 560;                          // at most, in pixels of the page
constexpr double kFont = 12.5, kTagHeight = 18, kTagPadding = 5, kTagGap = 1.5;  // likewise

// Pixels of the image to one of the page.
double unit_of(const ExplainedPair& pair) {
  return std::max(pair.width / kShownWidth, pair.height / kShownHeight);
}

// About the width of a bold sans-serif text whose size is 1; the browser fits it to that exactly.
double text_width(std::string_view text) {
  double width = 0;
  for (const char c : text) {
    if ((c & 0xc0) == 0x80) continue;  // of a character that has begun
    const bool thin = std::string_view("ijlft.,'|!:;I()[]").find(c) != std::string_view::npos;
    const bool broad = (c & 0x80) != 0 || std::string_view("mwMW@%").find(c) != std::string_view::npos;
    width += thin ? 0.36 : broad ? 0.95 : 0.63;
  }
  return std::max(width, 0.3);
}

// A word that found a region, and whether it is sure of it: its cosine is half of the pair's best or more.
struct Found {
  size_t word;
  bool sure;
};

std::string mark_class(const Found& found) {
  return "mark " + word_class(found.word) + (found.sure ? "" : " weak");
}

bool any_sure(const std::vector<Found>& words) {
  return std::any_of(words.begin(), words.end(), [](const Found& word) { return word.sure; });
}

// The words that found a region, as coloured tags in lines.
struct Label {
  struct Tag {
    Found word;
    std::string text;
    SceneBox box;  // from the label's own corner
  };
  std::vector<Tag> tags;
  double width = 0, height = 0;
};

Label make_label(const ExplainedPair& pair, const std::vector<Found>& words, double unit) {
  Label label;
  double x = 0, y = 0;
  for (const Found& word : words) {
    const std::string text = piece_label(pair, word.word);
    const double width = unit * (kFont * text_width(text) + 2 * kTagPadding), height = unit * kTagHeight;
    if (x > 0 && x + width > std::max(0.42 * pair.width, width)) {
      x = 0;
      y += height + unit * kTagGap;
    }
    label.tags.push_back({word, text, {x, y, width, height}});
    label.width = std::max(label.width, x + width);
    label.height = y + height;
    x += width + unit * kTagGap;
  }
  return label;
}

double shared_area(const SceneBox& a, const SceneBox& b) {
  const double width = std::min(a.x + a.width, b.x + b.width) - std::max(a.x, b.x);
  const double height = std::min(a.y + a.height, b.y + b.height) - std::max(a.y, b.y);
  return width > 0 && height > 0 ? width * height : 0;
}

// Beside a corner of the region's box where the fewest other labels are hidden, the upper left one first.
SceneBox place_label(const ExplainedPair& pair, const SceneBox& box, const Label& label,
                     const std::vector<SceneBox>& others) {
  const double left = box.x, right = box.x + box.width - label.width, under = box.y + box.height;
  const std::pair<double, double> corners[] = {{left, box.y - label.height},
                                               {left, under},
                                               {right, box.y - label.height},
                                               {right, under},
                                               {left, box.y},
                                               {right, box.y},
                                               {left, under - label.height},
                                               {right, under - label.height}};
  SceneBox best;
  double least = INFINITY;
  for (const auto& [x, y] : corners) {
    const SceneBox place{std::clamp(x, 0.0, std::max(0.0, pair.width - label.width)),
                         std::clamp(y, 0.0, std::max(0.0, pair.height - label.height)), label.width, label.height};
    double hidden = 0;
    for (const SceneBox& other : others) hidden += shared_area(place, other);
    if (hidden >= least) continue;
    least = hidden;
    best = place;
  }
  return best;
}

std::string render_label(const Label& label, const SceneBox& place, double unit) {
  std::string svg;
  for (const Label::Tag& tag : label.tags) {
    const double x = place.x + tag.box.x, y = place.y + tag.box.y;
    svg += fmt::format(
        "<g class=\"{}\"><rect class=\"fill\" x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" "
        "rx=\"{:.2f}\"/><text x=\"{:.2f}\" y=\"{:.2f}\" textLength=\"{:.2f}\" lengthAdjust=\"spacingAndGlyphs\">{}"
        "</text></g>",
        mark_class(tag.word), x, y, tag.box.width, tag.box.height, unit * 3, x + unit * kTagPadding, y + unit * 13.2,
        tag.box.width - 2 * unit * kTagPadding, escape_html(tag.text));
  }
  return svg + "\n";
}

std::string rectangle(const SceneBox& box, const std::string& attributes) {
  return fmt::format("<rect {} x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\"/>", attributes, box.x,
                     box.y, box.width, box.height);
}

// One box for all words that found it: its line has their colours in turn.
std::string render_box(const SceneBox& box, const std::vector<Found>& words) {
  constexpr int kDash = 9;
  std::string svg = rectangle(box, any_sure(words) ? "class=\"halo\"" : "class=\"halo weak\"");
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string dash = words.size() == 1 ? ""
                                               : fmt::format(" stroke-dasharray=\"{} {}\" stroke-dashoffset=\"-{}\"",
                                                             kDash, kDash * (words.size() - 1), kDash * i);
    svg += rectangle(box, fmt::format("class=\"edge {}\"{}", mark_class(words[i]), dash));
  }
  return svg + "\n";
}

}  // namespace

SceneBox box_of_region(const ExplainedPair& pair, int64_t region) {
  std::array<double, 4> corners{};
  for (size_t i = 0; i < 4; ++i) {
    const auto value = static_cast<double>(pair.boxes[static_cast<size_t>(region)][i]);
    corners[i] = std::isfinite(value) ? value : 0;
  }
  const double left = std::min(corners[0], corners[2]), top = std::min(corners[1], corners[3]);
  return {left, top, std::max(1.0, std::abs(corners[2] - corners[0])),
          std::max(1.0, std::abs(corners[3] - corners[1]))};
}

std::string piece_label(const ExplainedPair& pair, size_t word) {
  const bool goes_on = word + 1 < pair.words.size() && pair.words[word + 1].continues;
  return (pair.words[word].continues ? "…" : "") + pair.words[word].text + (goes_on ? "…" : "");
}

std::string word_class(size_t word) {
  return "w" + std::to_string(word % kColours);
}

std::string render_scene(const ExplainedPair& pair, const std::string& picture) {
  double most = 0;
  for (const ExplainedWord& word : pair.words) most = std::max(most, best_cosine(word));
  std::vector<std::vector<Found>> words_of(pair.boxes.size());
  for (size_t word = 0; word < pair.words.size(); ++word) {
    for (const int64_t region : best_regions(pair.words[word].cosines, 1)) {
      words_of[static_cast<size_t>(region)].push_back({word, 2 * best_cosine(pair.words[word]) >= most});
    }
  }
  std::vector<std::tuple<bool, double, int64_t>> found;  // those of sure words on top, and small ones
  std::string lines, boxes, labels;
  for (size_t region = 0; region < words_of.size(); ++region) {
    const SceneBox box = box_of_region(pair, static_cast<int64_t>(region));
    const std::vector<Found>& words = words_of[region];
    if (!words.empty()) found.emplace_back(any_sure(words), -box.width * box.height, static_cast<int64_t>(region));
    if (picture.empty()) lines += rectangle(box, "class=\"unchosen\"") + "\n";
  }
  std::sort(found.begin(), found.end());
  const double unit = unit_of(pair);
  std::vector<SceneBox> places;
  for (const auto& [sure, area, region] : found)
    boxes += render_box(box_of_region(pair, region), words_of[static_cast<size_t>(region)]);
  std::reverse(found.begin(), found.end());  // sure words choose their tags' places first
  for (const auto& [sure, area, region] : found) {
    const Label label = make_label(pair, words_of[static_cast<size_t>(region)], unit);
    places.push_back(place_label(pair, box_of_region(pair, region), label, places));
    labels = render_label(label, places.back(), unit) + labels;
  }
  const std::string ground = picture.empty() ? rectangle({0, 0, pair.width * 1.0, pair.height * 1.0}, "class=\"void\"")
                                             : fmt::format("<use href=\"#{}\"/>", picture);
  return fmt::format(
      "<svg class=\"scene\" viewBox=\"0 0 {} {}\" style=\"max-width:{:.0f}px\" role=\"img\" aria-label=\"{}\" "
      "font-size=\"{:.2f}\">\n{}\n{}{}{}</svg>\n",
      pair.width, pair.height, pair.width / unit, escape_html("the regions that the words find in " + pair.image),
      kFont * unit, ground, lines, boxes, labels);
}

}  // namespace muster
