#include "trainer/report/contact_sheet.h"

#include <fmt/format.h>

#include "dataloader/formats/atomic_file.h"
#include "trainer/report/html_text.h"
#include "trainer/report/report_style.h"

namespace muster {
namespace {

constexpr const char* kSheetStyle = R"css(
main { max-width: none; }
.rows { display: grid; gap: 14px; margin-top: 20px; }
.sheet { background: var(--card); border: 1px solid var(--faint); border-radius: 10px; padding: 12px 14px; overflow-x: auto; }
.sheet h2 { font-size: 14px; margin: 0 0 8px; font-weight: 600; overflow-wrap: anywhere; }
.strip { display: flex; gap: 12px; align-items: flex-start; }
.strip figure { margin: 0; flex: 0 0 150px; width: 150px; }
.strip figure:first-child { flex-basis: 230px; width: 230px; padding-right: 12px; border-right: 1px solid var(--faint); }
.strip img { display: block; height: 190px; max-width: 100%; object-fit: contain; object-position: left; image-rendering: pixelated; }
.strip figcaption { font-size: 12px; line-height: 1.35; margin-top: 6px; overflow-wrap: anywhere; }
.strip figcaption p { margin: 0 0 4px; }
details { padding: 10px 14px; margin-top: 16px; }
pre { white-space: pre-wrap; margin: 8px 0 0; font-size: 12.5px; }
)css";

// Foreign text may turn the writing direction round; <bdi> keeps that to itself.
std::string paragraph(const std::string& text) {
  return "<p><bdi>" + escape_html(text) + "</bdi></p>";
}

std::string figure(const std::vector<uint8_t>& image, const std::string& description, const std::string& words) {
  return fmt::format("<figure><img src=\"{}\" alt=\"{}\"><figcaption>{}</figcaption></figure>\n", image_data_uri(image),
                     description, words);
}

std::string render_row(const SheetRow& row) {
  std::string captions;
  for (const std::string& caption : row.captions) captions += paragraph(caption);
  std::string html =
      fmt::format("<section class=\"sheet\"><h2><bdi>{}</bdi></h2><div class=\"strip\">\n", escape_html(row.name)) +
      figure(row.image, "as in evaluation", captions);
  for (size_t i = 0; i < row.versions.size(); ++i) {
    html += figure(row.versions[i].image, fmt::format("version {}", i + 1), paragraph(row.versions[i].caption));
  }
  return html + "</div></section>\n";
}

}  // namespace

void write_contact_sheet(const std::string& path, const ContactSheet& sheet) {
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
      "style-src 'unsafe-inline'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{0}</title>\n<style>{1}{2}</style></head><body><main>\n<h1>{0}</h1>\n"
      "<p class=\"lead\">Left: the image as evaluation sees it, with its captions. Then what training makes of "
      "it.</p>\n"
      "<dl class=\"facts\">",
      escape_html(sheet.title), kReportStyle, kSheetStyle);
  for (const auto& [name, value] : sheet.facts) {
    html += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", escape_html(name), escape_html(value));
  }
  html += fmt::format("</dl>\n<details><summary>Transforms</summary><pre>{}</pre></details>\n<div class=\"rows\">\n",
                      escape_html(sheet.config));
  for (const SheetRow& row : sheet.rows) html += render_row(row);
  write_file_atomically(path, html + "</div></main></body></html>\n");
}

}  // namespace muster
