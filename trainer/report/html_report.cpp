#include "trainer/report/html_report.h"

#include <fmt/format.h>

#include <cmath>

#include "dataloader/formats/atomic_file.h"
#include "trainer/report/explain_page.h"
#include "trainer/report/explained_html.h"
#include "trainer/report/html_text.h"
#include "trainer/report/metrics_file.h"
#include "trainer/report/metrics_log.h"
#include "trainer/report/report_curves.h"
#include "trainer/report/report_queries.h"
#include "trainer/report/report_style.h"

namespace muster {
namespace {

// The browser itself refuses anything from outside, and any script a caption might smuggle in.
constexpr const char* kPolicy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

std::string render_head(const ReportData& data) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}</title>\n<style>{}{}</style>\n</head>\n",
      kPolicy, escape_html(data.title), kReportStyle, data.explained.empty() ? "" : kExplainStyle);
}

std::string render_title(const ReportData& data) {
  std::string html = fmt::format("<h1><bdi>{}</bdi></h1>\n<dl class=\"facts\">", escape_html(data.title));
  for (const auto& [name, value] : data.facts) {
    html += fmt::format("<div><dt>{}</dt><dd><bdi>{}</bdi></dd></div>", escape_html(name), escape_html(value));
  }
  return html + "</dl>\n";
}

std::string percent(double value) {
  return std::isfinite(value) ? fmt::format("{:.2f}", value) : "–";
}

std::string render_tile(const std::string& figure, const std::string& unit, const std::string& meaning) {
  return fmt::format("<div class=\"tile card\"><b>{}<small>{}</small></b><span>{}</span></div>\n", figure, unit,
                     meaning);
}

std::string render_tiles(const ReportData& data) {
  std::string html = "<div class=\"tiles\">\n";
  html += render_tile(percent(data.text_to_image.r1), "%", "R@1, text to image");
  html += render_tile(percent(data.image_to_text.r1), "%", "R@1, image to text");
  html += render_tile(percent(data.text_to_image.map), "%", "mAP, text to image");
  if (data.chance_r1 > 0) {
    const double times = data.text_to_image.r1 / data.chance_r1;
    html += render_tile(fmt::format("{:.{}f}", times, times < 10 ? 1 : 0), "×",
                        fmt::format("chance, which is R@1 {:.2f} %", data.chance_r1));
  } else {
    html += render_tile(percent(data.text_to_image.r10), "%", "R@10, text to image");
  }
  return html + "</div>\n";
}

std::string render_table_row(const char* direction, const char* queries, const char* gallery,
                             const RetrievalMetrics& metrics) {
  std::string html = fmt::format("<tr><th scope=\"row\">{}<small>{} {} in {} {}</small></th>", direction,
                                 metrics.queries, queries, metrics.gallery, gallery);
  for (const double figure : {metrics.r1, metrics.r5, metrics.r10, metrics.map, metrics.minp}) {
    html += fmt::format("<td>{}</td>", percent(figure));
  }
  return html + "</tr>\n";
}

std::string render_table(const ReportData& data) {
  std::string html = "<div class=\"card table\"><table>\n<thead><tr><th scope=\"col\">%</th>";
  for (const char* name : {"R@1", "R@5", "R@10", "mAP", "mINP"}) html += fmt::format("<th scope=\"col\">{}</th>", name);
  html += "</tr></thead>\n<tbody>\n" + render_table_row("text to image", "captions", "images", data.text_to_image) +
          render_table_row("image to text", "images", "captions", data.image_to_text) + "</tbody>\n</table></div>\n";
  const int64_t skipped = data.text_to_image.skipped + data.image_to_text.skipped;
  if (skipped > 0) {
    html += fmt::format("<p class=\"lead\">Left out, having no positive in the gallery: {} captions, {} images.</p>\n",
                        data.text_to_image.skipped, data.image_to_text.skipped);
  }
  return html;
}

std::string render_section(const std::string& title, const std::string& lead, const std::string& body) {
  return fmt::format("<section>\n<h2>{}</h2>\n<p class=\"lead\">{}</p>\n{}</section>\n", title, lead, body);
}

std::string render_body(const ReportData& data) {
  const std::string split = escape_html(data.split);
  std::string html = render_title(data) + render_tiles(data) + render_table(data);
  if (!data.run_dir.empty()) {
    html += render_section("Training", "Point at a curve to read its values.",
                           render_curves(read_metrics(metrics_path(data.run_dir))));
  }
  if (!data.queries.empty()) {
    html += render_section(
        "Text to image",
        fmt::format("Captions of {} and the best images for each, {}. ✓ in a solid "
                    "frame: of the caption’s identity. ✗ in a dashed frame: of another.",
                    split, data.ranking_note.empty() ? "by cosine similarity" : escape_html(data.ranking_note)),
        render_queries(data.queries));
  }
  if (data.queries.empty() && !data.ranking_note.empty()) {
    html += render_section("Text to image",
                           "No lists of hits: they go by one vector for each image and caption (“global”), and no term "
                           "of the objective trains these. The table’s figures are of the alignment of regions and "
                           "words.",
                           "");
  }
  if (!data.image_queries.empty()) {
    html += render_section("Image to text",
                           fmt::format("Images of {} and the best captions for each, marked the same way.", split),
                           render_image_queries(data.image_queries));
  }
  if (!data.explained.empty()) {
    html += render_section("Explain",
                           fmt::format("Captions of {} with their images. {}", split, explain_lead(data.explained[0])),
                           render_explained(data.explained));
  }
  if (!data.restorations.empty()) {
    html += render_section("Restoration",
                           fmt::format("Images of {}: the grey patches that are seen, what is restored from them and "
                                       "the caption, and the image itself.",
                                       split),
                           render_restorations(data.restorations));
  }
  if (!data.config.empty()) {
    html += fmt::format(
        "<section>\n<h2>Configuration</h2>\n<details><summary>The resolved config</summary>\n"
        "<pre>{}</pre>\n</details>\n</section>\n",
        escape_html(data.config));
  }
  return html;
}

}  // namespace

void write_report(const std::string& path, const ReportData& data) {
  write_file_atomically(path,
                        render_head(data) + "<body>\n<main>\n" + render_body(data) + "</main>\n</body>\n</html>\n");
}

}  // namespace muster
