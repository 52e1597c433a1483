#include "trainer/report/search_page.h"

#include <fmt/format.h>

#include "trainer/report/html_text.h"
#include "trainer/report/report_style.h"

namespace muster {
namespace {

constexpr const char* kFilePolicy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

constexpr const char* kSearchStyle = R"css(
main { max-width: 1440px; padding-top: 26px; }
.box { display: flex; gap: 10px; margin: 18px 0 6px; }
.box input { flex: 1; min-width: 0; padding: 10px 14px; border: 1px solid var(--faint); border-radius: 8px; background: var(--card); color: var(--ink); font: inherit; font-size: 17px; }
.box button { padding: 10px 22px; border: 0; border-radius: 8px; background: var(--c0); color: var(--page); font: inherit; font-weight: 600; cursor: pointer; }
.box input:focus-visible, .box button:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
.complaint { border-left: 4px solid var(--wrong); background: var(--wrong-wash); border-radius: 0 8px 8px 0; padding: 10px 14px; margin: 18px 0 0; overflow-wrap: anywhere; }
.sides { display: grid; gap: 16px; margin-top: 14px; }
.sides.two { grid-template-columns: 1fr 1fr; }
.side { padding: 14px 16px 16px; min-width: 0; }
.side .lead { font-size: 13.5px; margin: 2px 0 12px; }
.found { list-style: none; margin: 0; padding: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(100px, 1fr)); gap: 10px; }
.found li { border: 1px solid var(--faint); border-radius: 8px; padding: 5px 6px 4px; min-width: 0; }
.found .picture { height: 150px; }
.found .under b { font-size: 13.5px; }
.found .below { display: flex; justify-content: space-between; gap: 6px; line-height: 1.4; }
.found .who { font-size: 12px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; min-width: 0; }
.moved { font-size: 11.5px; color: var(--soft); white-space: nowrap; }
.moved.up { color: var(--right); font-weight: 600; }
.moved.down { color: var(--wrong); font-weight: 600; }
@media (max-width: 900px) { .sides.two { grid-template-columns: 1fr; } }
)css";

// Foreign text may turn the writing direction round; <bdi> keeps that to itself.
std::string foreign(const std::string& text) {
  return "<bdi>" + escape_html(text) + "</bdi>";
}

// Where a refined hit stood among the plain ones.
std::string moved(int64_t rank, int64_t plain_rank, size_t shown) {
  if (plain_rank == 0) return fmt::format("<span class=\"moved up\">▲ &gt;{}</span>", shown);
  if (plain_rank == rank) return "<span class=\"moved\">=</span>";
  return plain_rank > rank ? fmt::format("<span class=\"moved up\">▲ {}</span>", plain_rank)
                           : fmt::format("<span class=\"moved down\">▼ {}</span>", plain_rank);
}

std::string render_hit(const PageHit& hit, int64_t rank, const std::string& note) {
  const std::string picture = hit.picture.empty() ? "<span class=\"picture none\">no image</span>"
                                                  : fmt::format("<img class=\"picture\" src=\"{}\" alt=\"{}\">",
                                                                escape_html(hit.picture), escape_html(hit.path));
  return fmt::format(
      "<li title=\"{}\">{}<span class=\"under\"><b>{}</b><span class=\"score\">{:.4f}</span></span>"
      "<span class=\"below\"><span class=\"who\">{}</span>{}</span></li>\n",
      escape_html(hit.path), picture, rank, hit.score, foreign(hit.identity), note);
}

std::string render_side(const std::string& name, const std::string& lead, const std::vector<PageHit>& hits,
                        const PageQuery* before) {
  std::string html = fmt::format(
      "<section class=\"card side\"><h3>{}</h3><p class=\"lead\">{}</p>\n<ol class=\"found\">\n", name, lead);
  int64_t rank = 0;
  for (const PageHit& hit : hits) {
    ++rank;
    html += render_hit(hit, rank, before == nullptr ? "" : moved(rank, hit.plain_rank, before->plain.size()));
  }
  return html + "</ol></section>\n";
}

std::string render_query(const PageQuery& query, const SearchPage& page) {
  const bool two = !page.refinement.empty();
  std::string html = page.is_served ? "" : "<h2>" + foreign(query.words) + "</h2>\n";  // served: it stands in the box
  html += fmt::format("<div class=\"sides{}\">\n", two ? " two" : "");
  html += render_side("Plain", "By the cosine of words and image.", query.plain, nullptr);
  if (two) html += render_side("Refined", "By the references too. ▲ ▼: from which plain rank.", query.refined, &query);
  return html + "</div>\n";
}

std::string render_head(const SearchPage& page) {
  const std::string style =
      page.is_served ? "<link rel=\"stylesheet\" href=\"/style.css\">"
                     : fmt::format("<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n<style>{}</style>",
                                   kFilePolicy, search_style());
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{}\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n</head>\n",
      style, escape_html(page.title));
}

}  // namespace

const char* const kServedPolicy =
    "default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

std::string search_style() {
  return std::string(kReportStyle) + kSearchStyle;
}

std::string render_search_page(const SearchPage& page) {
  std::string html =
      render_head(page) + fmt::format("<body>\n<main>\n<h1>{}</h1>\n<dl class=\"facts\">", foreign(page.title));
  for (const auto& [name, value] : page.facts) {
    html += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", escape_html(name), foreign(value));
  }
  if (!page.refinement.empty()) {
    html += fmt::format("<div><dt>refined by</dt><dd>{}</dd></div>", foreign(page.refinement));
  }
  html += "</dl>\n";
  if (page.is_served) {
    html += fmt::format(
        "<form class=\"box\" action=\"/\" method=\"get\"><input name=\"q\" value=\"{}\" maxlength=\"1000\" "
        "aria-label=\"What the picture shows\" placeholder=\"a man in a red coat\" autocomplete=\"off\" required "
        "autofocus>"
        "<button>Search</button></form>\n",
        escape_html(page.typed));
  }
  if (!page.complaint.empty()) html += "<p class=\"complaint\">" + escape_html(page.complaint) + "</p>\n";
  for (const PageQuery& query : page.queries) html += render_query(query, page);
  return html + "</main>\n</body>\n</html>\n";
}

}  // namespace muster
