#include "trainer/report/explained_html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <regex>
#include <string>

#include "dataloader/random.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"
#include "trainer/report/explain_page.h"
#include "trainer/report/explained_scene.h"

namespace muster {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

const std::string kHostile = "<script>alert(1)</script>\"><img src=x onerror='alert(2)'></svg></style></main>& \xff";
const std::vector<uint8_t> kJpeg{0xff, 0xd8, 0xff, 0xe0, 1, 2, 3, 4};

size_t count(const std::string& text, const std::string& part) {
  size_t times = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++times;
  return times;
}

// Two words of two pieces and one, over three regions.
ExplainedPair small_pair() {
  ExplainedPair pair;
  pair.caption = "a skateboard";
  pair.image = "dir/7.jpg";
  pair.identity = "7";
  pair.picture = kJpeg;
  pair.width = 640;
  pair.height = 480;
  pair.boxes = {{10, 20, 110, 220}, {300, 100, 400, 150}, {0, 0, 640, 480}};
  pair.words = {{"a", false, {0.1, 0.2, 0.3}}, {"skate", false, {0.5, 0.9, 0.1}}, {"board", true, {0.7, 0.8, -0.4}}};
  pair.score = 2.0;
  pair.score_rule = "the sum over words of the best region's cosine";
  return pair;
}

TEST(ExplainedPair, BestRegionsAreThoseOfAPlainSearchWithTiesToTheLowerNumber) {
  KeyedRandom random(5, 0, Purpose::kSynth);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> cosines(1 + random.next_below(40));
    for (double& cosine : cosines) cosine = static_cast<double>(random.next_below(8)) / 4 - 1;  // many ties
    std::vector<double> left = cosines;
    for (const int64_t region : best_regions(cosines, 3)) {
      size_t best = 0;
      for (size_t r = 1; r < left.size(); ++r) {
        if (left[r] > left[best]) best = r;
      }
      EXPECT_EQ(region, static_cast<int64_t>(best));
      left[best] = -INFINITY;
    }
    EXPECT_EQ(best_regions(cosines, 3).size(), std::min<size_t>(3, cosines.size()));
  }
  EXPECT_TRUE(best_regions({}, 1).empty());
}

TEST(ExplainedHtml, TakesEveryTextAsHostile) {
  ExplainedPair pair = small_pair();
  pair.caption = pair.image = pair.identity = pair.left_out = pair.score_rule = kHostile;
  for (ExplainedWord& word : pair.words) word.text = kHostile;
  for (const bool pictured : {true, false}) {
    if (!pictured) pair.picture.clear();
    const std::string html = render_explain_page({kHostile, {{kHostile, kHostile}}, {pair}});
    for (const char* part : {"<script", "<img", "onerror='", "\xff"}) EXPECT_THAT(html, Not(HasSubstr(part)));
    EXPECT_EQ(count(html, "</main>"), 1U);
    EXPECT_EQ(count(html, "<svg"), count(html, "</svg>"));
    EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&gt;&lt;img"));
    EXPECT_THAT(html, HasSubstr("default-src 'none'; img-src data:; style-src 'unsafe-inline'"));
  }
}

// Boxes are in the view's own pixels, which are the image's, whatever the picture's size.
TEST(ExplainedHtml, BoxesAreThoseOfTheChosenRegionsInTheImagesPixels) {
  const std::string html = render_scene(small_pair(), "p");
  EXPECT_THAT(html, HasSubstr("viewBox=\"0 0 640 480\""));
  EXPECT_THAT(html, HasSubstr("<use href=\"#p\"/>"));
  EXPECT_THAT(
      html, HasSubstr("<rect class=\"edge mark w0 weak\" x=\"0.00\" y=\"0.00\" width=\"640.00\" height=\"480.00\"/>"));
  // "skate" and "board" share one box: its line is dashed in their colours by turns.
  EXPECT_THAT(html,
              HasSubstr("<rect class=\"edge mark w1\" stroke-dasharray=\"9 9\" stroke-dashoffset=\"-0\" x=\"300.00\" "
                        "y=\"100.00\" width=\"100.00\" height=\"50.00\"/>"));
  EXPECT_THAT(html,
              HasSubstr("<rect class=\"edge mark w2\" stroke-dasharray=\"9 9\" stroke-dashoffset=\"-9\" x=\"300.00\""));
  EXPECT_EQ(count(html, "class=\"halo\""), 1U);       // region 0 is found by no word
  EXPECT_EQ(count(html, "class=\"halo weak\""), 1U);  // "a" has less than half of 0.9
  EXPECT_EQ(count(html, "x=\"10.00\" y=\"20.00\""), 0U);
  const std::string page = render_explained({small_pair()});
  EXPECT_THAT(page, HasSubstr("<image id=\"explained-0\" width=\"640\" height=\"480\" preserveAspectRatio=\"none\" "
                              "href=\"data:image/jpeg;base64,/9j/4AECAwQ=\"/>"));
}

TEST(ExplainedHtml, CornersInAnyOrderAndNumbersThatAreNone) {
  ExplainedPair pair = small_pair();
  pair.boxes = {{110, 220, 10, 20}, {5, 5, 5, 5}, {NAN, INFINITY, 3, 4}};
  const auto expect_box = [&](int64_t region, double x, double y, double width, double height) {
    const SceneBox box = box_of_region(pair, region);
    EXPECT_EQ(box.x, x);
    EXPECT_EQ(box.y, y);
    EXPECT_EQ(box.width, width);
    EXPECT_EQ(box.height, height);
  };
  expect_box(0, 10, 20, 100, 200);
  expect_box(1, 5, 5, 1, 1);
  expect_box(2, 0, 0, 3, 4);
  EXPECT_THAT(render_explained({pair}), Not(ContainsRegex("[^a-z](nan|inf)[^a-z]")));
}

// No tag leaves the picture, and none hides another where there is room.
TEST(ExplainedHtml, TagsLieInThePictureAndApart) {
  ExplainedPair pair = small_pair();
  pair.boxes = {{0, 0, 60, 50}, {20, 10, 90, 70}, {600, 440, 640, 480}, {580, 430, 640, 480}};
  pair.words.clear();
  for (size_t word = 0; word < 4; ++word) {
    pair.words.push_back({"word", false, std::vector<double>(4, 0.0)});
    pair.words.back().cosines[word] = 1;
  }
  const std::string html = render_scene(pair, "p");
  const std::regex tag(R"re(class="fill" x="([0-9.-]+)" y="([0-9.-]+)" width="([0-9.]+)" height="([0-9.]+)")re");
  std::vector<SceneBox> tags;
  for (std::sregex_iterator at(html.begin(), html.end(), tag), end; at != end; ++at) {
    tags.push_back({std::stod((*at)[1]), std::stod((*at)[2]), std::stod((*at)[3]), std::stod((*at)[4])});
  }
  ASSERT_EQ(tags.size(), 4U);
  for (size_t i = 0; i < tags.size(); ++i) {
    EXPECT_GE(tags[i].x, 0);
    EXPECT_GE(tags[i].y, 0);
    EXPECT_LE(tags[i].x + tags[i].width, 640.01);
    EXPECT_LE(tags[i].y + tags[i].height, 480.01);
    for (size_t j = 0; j < i; ++j) {
      const bool apart =
          tags[i].x + tags[i].width <= tags[j].x + 0.01 || tags[j].x + tags[j].width <= tags[i].x + 0.01 ||
          tags[i].y + tags[i].height <= tags[j].y + 0.01 || tags[j].y + tags[j].height <= tags[i].y + 0.01;
      EXPECT_TRUE(apart) << i << " and " << j;
    }
  }
}

TEST(ExplainedHtml, WithoutAPictureAllRegionsAreOutlinedOnAFrame) {
  ExplainedPair pair = small_pair();
  for (const std::vector<uint8_t>& bytes : {std::vector<uint8_t>{}, std::vector<uint8_t>{1, 2, 3}}) {
    pair.picture = bytes;
    const std::string html = render_explained({pair});
    EXPECT_THAT(html, HasSubstr("<rect class=\"void\" x=\"0.00\" y=\"0.00\" width=\"640.00\" height=\"480.00\"/>"));
    EXPECT_EQ(count(html, "class=\"unchosen\""), 3U);
    for (const char* part : {"<image", "<use", "class=\"crop\""}) EXPECT_THAT(html, Not(HasSubstr(part)));
  }
}

TEST(ExplainedHtml, RowsShowAWordsThreeBestRegions) {
  const std::string html = render_explained({small_pair()});
  const size_t row = html.find("<tr class=\"row w2\">");
  ASSERT_NE(row, std::string::npos);
  const std::string board = html.substr(row, html.find("</tr>", row) - row);
  EXPECT_THAT(
      board,
      HasSubstr("<span class=\"chip rest\"><bdi>skate</bdi></span><span class=\"chip\"><bdi>board</bdi></span>"));
  const size_t first = board.find("<b>0.800</b><small>region 1"), second = board.find("<b>0.700</b><small>region 0"),
               third = board.find("<b>-0.400</b><small>region 2");
  ASSERT_NE(third, std::string::npos);
  EXPECT_LT(first, second);
  EXPECT_LT(second, third);
  // Of all regions: region 1 of 0.8 beside the pair's best, 0.9, is nine tenths; region 2 is blank.
  EXPECT_THAT(board, HasSubstr("fill-opacity=\"0.9\" d=\"M1 0h1v8h-1z\""));
  EXPECT_THAT(board, HasSubstr("fill-opacity=\"0.8\" d=\"M0 0h1v8h-1z\""));
  EXPECT_THAT(board, Not(HasSubstr("M2 0h1")));
  EXPECT_THAT(board, HasSubstr("class=\"best\" d=\"M1 8.7h1v1.3h-1z\""));
  EXPECT_THAT(html, HasSubstr("score 2.000"));
  EXPECT_THAT(html, Not(HasSubstr("chosen by")));
}

TEST(ExplainedHtml, PiecesOfAWordStandTogether) {
  ExplainedPair pair = small_pair();
  EXPECT_EQ(piece_label(pair, 0), "a");
  EXPECT_EQ(piece_label(pair, 1), "skate…");
  EXPECT_EQ(piece_label(pair, 2), "…board");
  pair.left_out = ".";
  const std::string html = render_explained({pair});
  const size_t spoken = html.find("<p class=\"spoken\">");
  const std::string words = html.substr(spoken, html.find("</p>", spoken) - spoken);
  EXPECT_EQ(count(words, "class=\"whole\""), 3U);  // a, skate + board, the full stop
  EXPECT_THAT(words, HasSubstr("<bdi>skate</bdi></span><small>0.900</small></span><span class=\"piece mark w2\">"));
  EXPECT_THAT(words, HasSubstr("<bdi>.</bdi></span><small>no word"));
}

TEST(ExplainedHtml, RegionsThatChooseHaveAColumn) {
  ExplainedPair pair = small_pair();
  pair.regions_count = true;
  pair.words[0].chosen_by = 1;
  pair.words[0].chosen_by_cosines = -0.0001;
  pair.words[1].chosen_by = 2;
  pair.words[1].chosen_by_cosines = 1.5;
  const std::string html = render_explained({pair});
  EXPECT_THAT(html, HasSubstr("<td><b>0.000</b><small>of 1 region</small></td>"));
  EXPECT_THAT(html, HasSubstr("<td><b>1.500</b><small>of 2 regions</small></td>"));
}

TEST(ExplainedHtml, ACaptionWithoutWordsSaysSo) {
  ExplainedPair pair = small_pair();
  pair.words.clear();
  pair.score = 0;
  const std::string html = render_explained({pair});
  EXPECT_THAT(html, HasSubstr("The caption has no word"));
  EXPECT_THAT(html, Not(HasSubstr("<table")));
}

TEST(ExplainedHtml, APictureStandsInThePageOnce) {
  ExplainedPair other = small_pair();
  other.picture.push_back(5);
  const std::string html = render_explained({small_pair(), small_pair(), other});
  EXPECT_EQ(count(html, "<image "), 2U);
  EXPECT_EQ(count(html, "id=\"explained-0\""), 1U);
  EXPECT_EQ(count(html, "id=\"explained-2\""), 1U);
  EXPECT_EQ(count(html, "<svg class=\"scene\""), 3U);
  EXPECT_EQ(count(html, "#explained-1"), 0U);
  EXPECT_EQ(count(html, "class=\"void\" x="), 0U);  // no frame in place of the shared picture
}

// Every tag closed in its place, every name there, nothing from outside.
constexpr const char* kCheckPage = R"(
import html.parser, sys
VOID = {'meta', 'rect', 'path', 'use', 'image'}
class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.uses = [], [], []
    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        assert len(values) == len(attributes), 'an attribute twice'
        assert tag not in ('script', 'link', 'iframe', 'object', 'base', 'form', 'a'), tag
        for name, value in attributes:
            assert not name.startswith('on') and name not in ('src', 'action', 'srcset', 'xlink:href'), name
        if 'id' in values: self.ids.append(values['id'])
        if tag == 'use': self.uses.append(values['href'])
        elif tag == 'image': assert values['href'].startswith('data:image/'), values['href']
        else: assert 'href' not in values, tag
        if tag not in VOID: self.open.append(tag)
    def handle_startendtag(self, tag, attributes):
        assert tag in VOID, tag
        self.handle_starttag(tag, attributes)
    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag
text = open(sys.argv[1], encoding='utf-8').read()
page = Page()
page.feed(text)
page.close()
assert not page.open, page.open
assert len(set(page.ids)) == len(page.ids) == 2, page.ids
assert page.uses and all(use[0] == '#' and use[1:] in page.ids for use in page.uses), page.uses
assert 'url(' not in text and '@import' not in text
)";

TEST(ExplainedHtml, IsAWholePageOfItsOwn) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  ExplainedPair other = small_pair(), bare = small_pair();
  other.picture.push_back(5);
  other.caption = other.words[1].text = kHostile;
  bare.picture.clear();
  std::ofstream(folder / "page.html") << render_explain_page(
      {"Page", {{"run", "r"}}, {small_pair(), other, bare, small_pair()}});
  run_reference_python(kCheckPage, {folder / "page.html"});
}

}  // namespace
}  // namespace muster
