#include "trainer/report/explain_page.h"

#include <fmt/format.h>

#include "trainer/report/explained_html.h"
#include "trainer/report/html_text.h"
#include "trainer/report/report_style.h"

namespace muster {
namespace {

constexpr const char* kPolicy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

std::string foreign(const std::string& text) {
  return "<bdi>" + escape_html(text) + "</bdi>";
}

}  // namespace

std::string explain_lead(const ExplainedPair& pair) {
  return fmt::format(
      "Each word piece and the region it finds, which is the one with the largest cosine; numbers as the store counts "
      "regions, from 0. Words whose cosine is below half of the caption’s largest are pale in the picture. The score "
      "is {}.",
      escape_html(pair.score_rule));
}

std::string render_explain_page(const ExplainPage& page) {
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}</title>\n<style>{}{}</style>\n</head>\n<body>\n<main>\n<h1>{}</h1>\n<dl class=\"facts\">",
      kPolicy, escape_html(page.title), kReportStyle, kExplainStyle, foreign(page.title));
  for (const auto& [name, value] : page.facts) {
    html += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", escape_html(name), foreign(value));
  }
  html += "</dl>\n";
  if (!page.pairs.empty()) html += "<p class=\"lead above\">" + explain_lead(page.pairs[0]) + "</p>\n";
  return html + render_explained(page.pairs) + "</main>\n</body>\n</html>\n";
}

}  // namespace muster
