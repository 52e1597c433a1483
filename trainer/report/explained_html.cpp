#include "trainer/report/explained_html.h"

#include <fmt/format.h>

#include <algorithm>

#include "trainer/report/explained_scene.h"
#include "trainer/report/html_text.h"

namespace muster {
namespace {

constexpr int64_t kShownRegions = 3;

std::string foreign(const std::string& text) {
  return "<bdi>" + escape_html(text) + "</bdi>";
}

// "0.812", and no minus before a zero.
std::string figure(double cosine) {
  const std::string text = fmt::format("{:.3f}", cosine);
  return text == "-0.000" ? "0.000" : text;
}

// [first, end) of the pieces of a word that has this one.
std::pair<size_t, size_t> whole_word(const ExplainedPair& pair, size_t piece) {
  size_t first = piece, end = piece + 1;
  while (first > 0 && pair.words[first].continues) --first;
  while (end < pair.words.size() && pair.words[end].continues) ++end;
  return {first, end};
}

// The caption's pieces in their colours, those of a word side by side.
std::string render_words(const ExplainedPair& pair) {
  std::string html = "<p class=\"spoken\">";
  for (size_t i = 0; i < pair.words.size();) {
    const size_t end = whole_word(pair, i).second;
    html += "<span class=\"whole\">";
    for (; i < end; ++i) {
      html += fmt::format("<span class=\"piece mark {}\"><span class=\"chip\">{}</span><small>{}</small></span>",
                          word_class(i), foreign(pair.words[i].text), figure(best_cosine(pair.words[i])));
    }
    html += "</span>\n";
  }
  if (!pair.left_out.empty()) {
    html += fmt::format(
        "<span class=\"whole\"><span class=\"piece out\"><span class=\"chip\">{}</span><small>no word"
        "</small></span></span>\n",
        foreign(pair.left_out));
  }
  return html + "</p>\n";
}

// One piece, with the rest of its word beside it.
std::string render_name(const ExplainedPair& pair, size_t piece) {
  const auto [first, end] = whole_word(pair, piece);
  std::string html = "<span class=\"whole\">";
  for (size_t i = first; i < end; ++i) {
    html += fmt::format("<span class=\"chip{}\">{}</span>", i == piece ? "" : " rest", foreign(pair.words[i].text));
  }
  return html + "</span>";
}

// What lies in a region's box, and around it what the square has room for.
std::string render_crop(const ExplainedPair& pair, int64_t region, const std::string& picture) {
  if (picture.empty()) return "";
  const SceneBox box = box_of_region(pair, region);
  const double margin = 0.08 * std::max(box.width, box.height);
  return fmt::format(
      "<svg class=\"crop\" viewBox=\"{:.2f} {:.2f} {:.2f} {:.2f}\" aria-hidden=\"true\"><use href=\"#{}\"/>"
      "<rect class=\"edge\" x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\"/></svg>",
      box.x - margin, box.y - margin, box.width + 2 * margin, box.height + 2 * margin, picture, box.x, box.y, box.width,
      box.height);
}

// All regions in a row, the darker the larger the cosine; those of 0 and less are blank, `most` is full.
std::string render_heat(const std::vector<double>& cosines, double most) {
  constexpr int kLevels = 10;
  std::vector<std::string> cells(kLevels + 1);
  for (size_t region = 0; region < cosines.size(); ++region) {
    const double share = most > 0 ? std::clamp(cosines[region] / most, 0.0, 1.0) : 0;
    cells[static_cast<size_t>(share * kLevels + 0.5)] += fmt::format("M{} 0h1v8h-1z", region);
  }
  std::string svg = fmt::format(
      "<svg class=\"heat\" viewBox=\"0 0 {} 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"cosines of all "
      "regions\"><rect class=\"void\" width=\"{}\" height=\"8\"/>",
      cosines.size(), cosines.size());
  for (size_t level = 1; level <= kLevels; ++level) {
    if (cells[level].empty()) continue;
    svg += fmt::format("<path class=\"fill\" fill-opacity=\"{:.1f}\" d=\"{}\"/>", static_cast<double>(level) / kLevels,
                       cells[level]);
  }
  for (const int64_t best : best_regions(cosines, 1)) {
    svg += fmt::format("<path class=\"best\" d=\"M{} 8.7h1v1.3h-1z\"/>", best);
  }
  return svg + "</svg>";
}

std::string render_row(const ExplainedPair& pair, size_t word, const std::string& picture, double most) {
  const ExplainedWord& one = pair.words[word];
  std::string html =
      fmt::format("<tr class=\"row {}\"><th scope=\"row\">{}</th>", word_class(word), render_name(pair, word));
  for (const int64_t region : best_regions(one.cosines, kShownRegions)) {
    html += fmt::format("<td class=\"near\"><div>{}<span><b>{}</b><small>region {}</small></span></div></td>",
                        render_crop(pair, region, picture), figure(one.cosines[static_cast<size_t>(region)]), region);
  }
  for (int64_t i = static_cast<int64_t>(one.cosines.size()); i < kShownRegions; ++i) html += "<td></td>";
  html += fmt::format("<td class=\"all\">{}</td>", render_heat(one.cosines, most));
  if (pair.regions_count) {
    html += fmt::format("<td><b>{}</b><small>of {} region{}</small></td>", figure(one.chosen_by_cosines), one.chosen_by,
                        one.chosen_by == 1 ? "" : "s");
  }
  return html + "</tr>\n";
}

std::string render_table(const ExplainedPair& pair, const std::string& picture) {
  double most = 0;
  for (const ExplainedWord& word : pair.words) most = std::max(most, best_cosine(word));
  std::string html =
      "<div class=\"table\"><table><thead><tr><th scope=\"col\">word</th><th scope=\"col\">finds</th>"
      "<th scope=\"col\">then</th><th scope=\"col\">then</th>";
  html += fmt::format("<th scope=\"col\" class=\"all\">all {} regions</th>", pair.boxes.size());
  if (pair.regions_count) html += "<th scope=\"col\">chosen by</th>";
  html += "</tr></thead>\n<tbody>\n";
  for (size_t word = 0; word < pair.words.size(); ++word) html += render_row(pair, word, picture, most);
  return html + "</tbody></table></div>\n";
}

std::string render_pair(const ExplainedPair& pair, const std::string& picture) {
  std::string html = fmt::format(
      "<article class=\"query explained\"><header><h3>{}</h3><p><span class=\"who\">{} · {}</span>"
      "<span class=\"pill\">score {}</span></p></header>\n",
      foreign(pair.caption), foreign(pair.image), foreign(pair.identity), figure(pair.score));
  html += "<div class=\"seeing\">\n<div class=\"shown\">\n" + render_scene(pair, picture);
  if (pair.words.empty()) html += "<p class=\"empty\">The caption has no word, so it finds no region.</p>\n";
  html += render_words(pair) + "</div>\n";
  if (!pair.words.empty()) html += render_table(pair, picture);
  return html + "</div></article>\n";
}

}  // namespace

std::string render_explained(const std::vector<ExplainedPair>& pairs) {
  std::string html;
  std::vector<std::string> pictures;  // of each pair, the element that holds it
  for (size_t i = 0; i < pairs.size(); ++i) {
    const ExplainedPair& pair = pairs[i];
    const auto same =
        std::find_if(pairs.begin(), pairs.begin() + static_cast<std::ptrdiff_t>(i), [&](const auto& other) {
          return other.picture == pair.picture && other.width == pair.width && other.height == pair.height;
        });
    const auto before = static_cast<size_t>(same - pairs.begin());
    const std::string uri = before == i ? image_data_uri(pair.picture) : "";
    pictures.push_back(before < i ? pictures[before] : uri.empty() ? "" : fmt::format("explained-{}", i));
    if (!uri.empty()) {
      html += fmt::format(
          "<svg class=\"held\" aria-hidden=\"true\"><defs><image id=\"{}\" width=\"{}\" height=\"{}\" "
          "preserveAspectRatio=\"none\" href=\"{}\"/></defs></svg>\n",
          pictures[i], pair.width, pair.height, uri);
    }
    html += render_pair(pair, pictures[i]);
  }
  return html;
}

}  // namespace muster
