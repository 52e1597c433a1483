#include "trainer/report/html_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "launch/error.h"
#include "tests/support/file_bytes.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"
#include "trainer/report/chart_axis.h"
#include "trainer/report/html_text.h"
#include "trainer/report/metrics_log.h"
#include "trainer/report/svg_chart.h"

namespace muster {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kHostile = "<script>alert(1)</script><img src=x onerror=\"alert(2)\"> </pre></main>' & \xff \x01";

const std::vector<uint8_t> kJpeg{0xff, 0xd8, 0xff, 0xe0, 1, 2, 3, 4};
const std::vector<uint8_t> kPng{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 9, 8};

// Every text of it is hostile.
ReportData hostile_report(const std::string& run_dir) {
  ReportData data;
  data.title = kHostile;
  data.facts = {{kHostile, kHostile}};
  data.split = kHostile;
  data.text_to_image = {12.34, 23.45, 34.56, 45.67, 56.78, 100, 50, 3};
  data.image_to_text = {std::nan(""), 23.45, 34.56, 45.67, 56.78, 50, 100, 0};
  data.chance_r1 = 0.5;
  data.config = kHostile;
  data.run_dir = run_dir;
  data.queries = {{kHostile, kHostile, {{kJpeg, kHostile, 0.5, true}, {{1, 2}, kHostile, -0.5, false}}, 1},
                  {"no hits", "1", {}, 0}};
  data.image_queries = {{kPng, kHostile, {{kHostile, kHostile, 0.25, false}}, 17}};
  data.restorations = {{kHostile, kHostile, kJpeg, {1}, kPng}};
  return data;
}

void log_run(const std::string& run_dir, int64_t steps) {
  MetricsLog log(run_dir, 0);
  for (int64_t step = 1; step <= steps; ++step) {
    StepRecord record;
    record.step = step;
    record.loss = step % 7 == 0 ? std::nan("") : 1 / static_cast<double>(step);
    record.terms = {{"<b>term", record.loss}, {"other", INFINITY}};
    record.grad_norm = INFINITY;
    log.step(record);
  }
  log.evaluation({steps, "<i>val", {1, 2, 3, 4, 5, 6, 7, 0}, {1, 2, 3, 4, 5, 6, 7, 0}});
}

std::string written(const ReportData& data, const std::string& path) {
  write_report(path, data);
  const std::vector<uint8_t> bytes = read_bytes(path);
  return {bytes.begin(), bytes.end()};
}

class HtmlReport : public testing::Test {
 protected:
  const TemporaryFolder folder_;
  const std::string path_ = folder_ / "report.html";
};

TEST_F(HtmlReport, HostileTextLeavesNoTags) {
  log_run(folder_.path(), 30);
  const std::string page = written(hostile_report(folder_.path()), path_);
  for (const char* tag : {"<script", "<img src=x", "<b>term", "<i>val", "</pre></main>"}) {
    EXPECT_THAT(page, Not(HasSubstr(tag)));
  }
  EXPECT_THAT(page, Not(HasSubstr("\xff")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=&quot;alert(2)&quot;&gt;"));
}

TEST_F(HtmlReport, ShowsTheTableAndMarksRightAndWrong) {
  const std::string page = written(hostile_report(""), path_);
  EXPECT_THAT(page, HasSubstr("<td>12.34</td><td>23.45</td><td>34.56</td><td>45.67</td><td>56.78</td>"));
  EXPECT_THAT(page, HasSubstr("<td>–</td><td>23.45</td>"));  // not finite
  EXPECT_THAT(page, HasSubstr("Left out, having no positive in the gallery: 3 captions, 0 images."));
  EXPECT_THAT(page, HasSubstr("chance, which is R@1 0.50 %"));
  EXPECT_THAT(page, HasSubstr("<li class=\"hit right\""));
  EXPECT_THAT(page, HasSubstr("<li class=\"hit wrong\""));
  EXPECT_THAT(page, HasSubstr("✓ right at rank 1"));
  EXPECT_THAT(page, HasSubstr("first right at rank 17"));
  EXPECT_THAT(page, HasSubstr("no right one found"));
  EXPECT_THAT(page, HasSubstr("no image"));
}

TEST_F(HtmlReport, ShowsWhatIsSeenRestoredAndTheImage) {
  ReportData data = hostile_report("");
  const std::string page = written(data, path_);
  const size_t section = page.find("<h2>Restoration</h2>");
  ASSERT_NE(section, std::string::npos);
  EXPECT_THAT(page.substr(section), HasSubstr("alt=\"seen\"><span class=\"under\">seen</span>"));
  EXPECT_THAT(page.substr(section), HasSubstr("no image</span><span class=\"under\">restored</span>"));
  EXPECT_THAT(page.substr(section), HasSubstr("alt=\"image\"><span class=\"under\">image</span>"));
  data.restorations.clear();
  EXPECT_THAT(written(data, path_), Not(HasSubstr("<h2>Restoration</h2>")));
}

// What the model is shown to have seen, and by which scores the lists go where the table is of others.
TEST_F(HtmlReport, ExplainsAndSaysByWhichScoresItRanks) {
  ReportData data = hostile_report("");
  const std::string plain = written(data, path_);
  EXPECT_THAT(plain, HasSubstr("the best images for each, by cosine similarity. ✓"));
  EXPECT_THAT(plain, Not(HasSubstr("<h2>Explain</h2>")));
  EXPECT_THAT(plain, Not(HasSubstr(".seeing {")));  // the style of explained pairs
  ExplainedPair pair;
  pair.caption = pair.image = pair.identity = pair.score_rule = kHostile;
  pair.boxes = {{0, 0, 1, 1}};
  pair.words = {{kHostile, false, {0.5}}};
  data.explained = {pair};
  data.ranking_note = std::string("by another score ") + kHostile;
  const std::string page = written(data, path_);
  EXPECT_THAT(page, HasSubstr("the best images for each, by another score &lt;script&gt;"));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, HasSubstr(".seeing {"));
  const size_t section = page.find("<h2>Explain</h2>");
  ASSERT_NE(section, std::string::npos);
  EXPECT_THAT(page.substr(section), HasSubstr("<svg class=\"scene\""));
  EXPECT_THAT(page, Not(HasSubstr("No lists of hits")));
  data.queries.clear();
  data.image_queries.clear();
  EXPECT_THAT(written(data, path_), HasSubstr("No lists of hits"));
  data.ranking_note.clear();
  EXPECT_THAT(written(data, path_), Not(HasSubstr("No lists of hits")));
}

TEST_F(HtmlReport, AnEmptyRunSaysSo) {
  ReportData data;
  data.run_dir = folder_.path();
  EXPECT_THAT(written(data, path_), HasSubstr("The run has logged nothing yet."));
}

TEST_F(HtmlReport, LongRunsStaySmall) {
  log_run(folder_.path(), 20000);
  ReportData data;
  data.run_dir = folder_.path();
  EXPECT_LT(written(data, path_).size(), 400'000U);
}

TEST_F(HtmlReport, AFolderThatIsMissingIsNamedAndNothingIsLeft) {
  try {
    write_report(folder_ / "absent/report.html", {});
    FAIL() << "accepted";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("absent/report.html"));
  }
}

// Every tag closed in its place, no reference out of the file; the decoded images and the text of a <pre>.
constexpr const char* kCheckPage = R"(
import base64, html.parser, json, sys
VOID = {'meta', 'img', 'path', 'circle', 'rect'}
class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.images, self.pre, self.tags = [], [], '', set()
    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert len(dict(attributes)) == len(attributes), 'an attribute twice'
        for name, value in attributes:
            assert not name.startswith('on'), name
            assert name not in ('href', 'action', 'srcset', 'xlink:href'), name
            if name == 'src':
                kind, data = value.split(';base64,')
                assert kind in ('data:image/jpeg', 'data:image/png'), kind
                self.images.append([kind, list(base64.b64decode(data, validate=True))])
        if tag not in VOID: self.open.append(tag)
    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID: self.open.pop()
    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag
    def handle_data(self, data):
        if self.open and self.open[-1] == 'pre': self.pre += data
text = open(sys.argv[1], encoding='utf-8').read()
page = Page()
page.feed(text)
page.close()
assert not page.open, page.open
assert not page.tags & {'script', 'link', 'iframe', 'object', 'base', 'form'}, page.tags
assert 'url(' not in text and '@import' not in text
json.dump({'images': page.images, 'pre': page.pre}, open(sys.argv[2], 'w'))
)";

TEST_F(HtmlReport, IsWellFormedAndSelfContained) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  log_run(folder_.path(), 300);
  write_report(path_, hostile_report(folder_.path()));
  run_reference_python(kCheckPage, {path_, folder_ / "found.json"});
  std::ifstream file(folder_ / "found.json");
  const nlohmann::json found = nlohmann::json::parse(file);
  ASSERT_EQ(found["images"].size(), 4U);  // two of hits, two of restorations
  EXPECT_EQ(found["images"][0], (nlohmann::json{"data:image/jpeg", kJpeg}));
  EXPECT_EQ(found["images"][1], (nlohmann::json{"data:image/png", kPng}));
  EXPECT_EQ(found["pre"],
            "<script>alert(1)</script><img src=x onerror=\"alert(2)\"> </pre></main>' & \xef\xbf\xbd \xef\xbf\xbd");
}

TEST(EscapeHtml, KeepsValidUtf8AndReplacesTheRest) {
  const std::string valid = "a\n\t\u00e9\u20ac\U0001F600\u07ff\uffff\U0010ffff";
  EXPECT_EQ(escape_html(valid), valid);
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(escape_html("\xc0\xaf"), bad + bad);                      // overlong
  EXPECT_EQ(escape_html("\xe0\x80\xaf"), bad + bad + bad);            // overlong
  EXPECT_EQ(escape_html("\xed\xa0\x80"), bad + bad + bad);            // surrogate
  EXPECT_EQ(escape_html("\xf4\x90\x80\x80"), bad + bad + bad + bad);  // after U+10FFFF
  EXPECT_EQ(escape_html("\xe2\x82"), bad + bad);                      // truncated
  EXPECT_EQ(escape_html(std::string("\0\x7f\x1b", 3)), bad + bad + bad);
  EXPECT_EQ(escape_html("<>&\"'"), "&lt;&gt;&amp;&quot;&#39;");
}

TEST(ChartAxis, TicksAreRound) {
  const Axis rounded = make_axis(0.13, 4.9, 4, true);
  EXPECT_EQ(rounded.labels, (std::vector<std::string>{"0", "2", "4", "6"}));
  EXPECT_EQ(rounded.high, 6);
  const Axis inside = make_axis(10, 1500, 5, false);
  EXPECT_EQ(inside.labels, (std::vector<std::string>{"500", "1000", "1500"}));
  EXPECT_EQ(inside.low, 10);
  EXPECT_EQ(make_axis(0, 5e-4, 4, true).labels, (std::vector<std::string>{"0", "0.0002", "0.0004", "0.0006"}));
  EXPECT_EQ(make_axis(-1e-7, 1e-7, 4, true).labels.front(), "-1e-07");
  EXPECT_EQ(make_axis(0, 250000, 5, false).labels.back(), "250k");
}

TEST(ChartAxis, OneValueStillHasAnAxis) {
  for (const double value : {0.0, 3.0, -7.5, 1e-12, 1e12}) {
    const Axis axis = make_axis(value, value, 4, true);
    EXPECT_LT(axis.low, axis.high) << value;
    EXPECT_GE(axis.ticks.size(), 2U) << value;
    EXPECT_LT(axis.ticks.size(), 20U) << value;
  }
}

Chart one_series(const std::vector<double>& values) {
  Chart chart;
  chart.title = "Loss";
  chart.x_name = "step";
  chart.series = {{"total", values}};
  for (size_t i = 0; i < values.size(); ++i) chart.x.push_back(static_cast<double>(i + 1));
  return chart;
}

int64_t count_of(const std::string& part, const std::string& text) {
  int64_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

std::string line_path(const std::string& svg) {
  const std::string start = "<path class=\"line l0\" d=\"";
  const size_t begin = svg.rfind(start) + start.size();
  return svg.substr(begin, svg.find('"', begin) - begin);
}

TEST(SvgChart, GapsWhereAValueIsNotFinite) {
  const std::string path = line_path(render_chart(one_series({1, 2, NAN, 3, 4, INFINITY, 5})));
  EXPECT_EQ(count_of("M", path), 3);
  EXPECT_EQ(count_of("L", path), 2);
  EXPECT_EQ(count_of("nan", path) + count_of("inf", path), 0);
}

TEST(SvgChart, NoFiniteValueAtAll) {
  EXPECT_THAT(render_chart(one_series({NAN, NAN})), HasSubstr("No finite value was logged."));
}

TEST(SvgChart, SpikesAndGapsOfLongRunsAreKept) {
  std::vector<double> values(100'000, 1.0);
  values[77'777] = 100;
  values[33'333] = NAN;
  const std::string svg = render_chart(one_series(values));
  EXPECT_LT(svg.size(), 60'000U);
  const std::string path = line_path(svg);
  EXPECT_EQ(count_of("M", path), 2);
  EXPECT_EQ(count_of(" 22.0", path), 1);  // the top of the frame
}

TEST(SvgChart, OnePointIsADot) {
  EXPECT_THAT(render_chart(one_series({3})), HasSubstr("<circle class=\"c0\""));
}

}  // namespace
}  // namespace muster
