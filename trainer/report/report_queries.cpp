#include "trainer/report/report_queries.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "trainer/report/html_text.h"

namespace muster {
namespace {

// Right and wrong differ by symbol, colour and the frame's line.
const char* verdict_class(bool right) {
  return right ? "right" : "wrong";
}

std::string verdict_mark(bool right) {
  return right ? "<span class=\"mark\" role=\"img\" aria-label=\"right\">✓</span>"
               : "<span class=\"mark\" role=\"img\" aria-label=\"wrong\">✗</span>";
}

std::string rank_note(int64_t rank, size_t shown) {
  if (rank <= 0) return "<span class=\"pill\">no right one found</span>";
  if (rank == 1) return "<span class=\"pill right\">✓ right at rank 1</span>";
  return fmt::format("<span class=\"pill {}\">first right at rank {}</span>",
                     rank <= static_cast<int64_t>(shown) ? "close" : "wrong", rank);
}

std::string picture(const std::vector<uint8_t>& bytes, const std::string& description) {
  const std::string uri = image_data_uri(bytes);
  if (uri.empty()) return "<span class=\"picture none\">no image</span>";
  return fmt::format("<img class=\"picture\" src=\"{}\" alt=\"{}\">", uri, escape_html(description));
}

// Foreign text may turn the writing direction round; <bdi> keeps that to itself.
std::string foreign(const std::string& text) {
  return "<bdi>" + escape_html(text) + "</bdi>";
}

// One row where the page is wide, two even ones where it is not.
std::string columns(size_t hits) {
  const size_t wide = std::clamp<size_t>(hits, 1, 10);
  return fmt::format("--wide:{};--narrow:{}", wide, wide > 5 ? (wide + 1) / 2 : wide);
}

std::string render_hit(const ReportHit& hit, size_t rank) {
  return fmt::format(
      "<li class=\"hit {0}\" title=\"{1}\">{2}<span class=\"under\"><span>{3}{4}</span>"
      "<span class=\"score\">{5:.3f}</span></span><span class=\"who\">{6}</span></li>\n",
      verdict_class(hit.right), escape_html(hit.identity), picture(hit.image, fmt::format("rank {}", rank)), rank,
      verdict_mark(hit.right), hit.score, foreign(hit.identity));
}

std::string render_caption_hit(const ReportCaptionHit& hit, size_t rank) {
  return fmt::format(
      "<li class=\"row {}\"><span class=\"rank\">{}{}</span><span class=\"said\">{}"
      "<span class=\"who\">{}</span></span><span class=\"score\">{:.3f}</span></li>\n",
      verdict_class(hit.right), rank, verdict_mark(hit.right), foreign(hit.caption), foreign(hit.identity), hit.score);
}

}  // namespace

std::string render_queries(const std::vector<ReportQuery>& queries) {
  std::string html;
  for (const ReportQuery& query : queries) {
    html += fmt::format(
        "<article class=\"query\"><header><h3>{}</h3><p><span class=\"who\">{}</span>{}</p></header>\n"
        "<ol class=\"hits\" style=\"{}\">\n",
        foreign(query.caption), foreign(query.identity), rank_note(query.rank_of_first_right, query.hits.size()),
        columns(query.hits.size()));
    for (size_t i = 0; i < query.hits.size(); ++i) html += render_hit(query.hits[i], i + 1);
    html += "</ol></article>\n";
  }
  return html;
}

std::string render_image_queries(const std::vector<ReportImageQuery>& queries) {
  std::string html = "<div class=\"pairs\">\n";
  for (const ReportImageQuery& query : queries) {
    html += fmt::format(
        "<article class=\"query pair\"><header>{}<p><span class=\"who\">{}</span>{}</p></header>\n"
        "<ol class=\"lines\">\n",
        picture(query.image, "the query"), foreign(query.identity),
        rank_note(query.rank_of_first_right, query.hits.size()));
    for (size_t i = 0; i < query.hits.size(); ++i) html += render_caption_hit(query.hits[i], i + 1);
    html += "</ol></article>\n";
  }
  return html + "</div>\n";
}

std::string render_restorations(const std::vector<ReportRestoration>& restorations) {
  std::string html = "<div class=\"pairs\">\n";
  for (const ReportRestoration& one : restorations) {
    html += fmt::format(
        "<article class=\"query\"><header><h3>{}</h3><p><span class=\"who\">{}</span></p></header>\n"
        "<ol class=\"hits\" style=\"{}\">\n",
        foreign(one.caption), foreign(one.identity), columns(3));
    for (const auto& [bytes, name] :
         {std::pair{&one.seen, "seen"}, std::pair{&one.restored, "restored"}, std::pair{&one.image, "image"}}) {
      html += fmt::format("<li>{}<span class=\"under\">{}</span></li>\n", picture(*bytes, name), name);
    }
    html += "</ol></article>\n";
  }
  return html + "</div>\n";
}

}  // namespace muster
