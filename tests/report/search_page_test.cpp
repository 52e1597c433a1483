#include "trainer/report/search_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace muster {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kHostile = "<script>alert(1)</script>\"><img src=x onerror='alert(2)'></style></main>& \xff";

size_t count(const std::string& text, const std::string& part) {
  size_t times = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++times;
  return times;
}

SearchPage hostile_page(bool served) {
  SearchPage page;
  page.title = kHostile;
  page.facts = {{kHostile, kHostile}};
  page.refinement = kHostile;
  page.is_served = served;
  page.typed = kHostile;
  page.complaint = kHostile;
  page.queries = {{kHostile, {{kHostile, kHostile, kHostile, 0.5, 0}}, {{kHostile, kHostile, kHostile, 0.25, 1}}}};
  return page;
}

TEST(SearchPage, TakesEveryTextAsHostile) {
  for (const bool served : {false, true}) {
    const std::string html = render_search_page(hostile_page(served));
    EXPECT_THAT(html, Not(HasSubstr("<script")));
    EXPECT_THAT(html, Not(HasSubstr("<img src=x")));
    EXPECT_THAT(html, Not(HasSubstr("onerror='")));
    EXPECT_THAT(html, Not(HasSubstr("\xff")));
    EXPECT_EQ(count(html, "</main>"), 1U);
    EXPECT_EQ(count(html, "<img "), 2U);
    EXPECT_EQ(count(html, "<input"), served ? 1U : 0U);
    EXPECT_THAT(html, HasSubstr(std::string(served ? "value=\"" : "<h2><bdi>") +
                                "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&gt;&lt;img"));
  }
}

TEST(SearchPage, AFileIsAloneAndAServedPageTakesNothingInline) {
  const std::string file = render_search_page(hostile_page(false)), served = render_search_page(hostile_page(true));
  EXPECT_THAT(file, HasSubstr("default-src 'none'; img-src data:; style-src 'unsafe-inline'"));
  EXPECT_THAT(file, HasSubstr("<style>"));
  EXPECT_THAT(served, Not(HasSubstr("<style")));
  EXPECT_THAT(served, Not(HasSubstr(" style=")));
  EXPECT_THAT(served, HasSubstr("<link rel=\"stylesheet\" href=\"/style.css\">"));
  EXPECT_THAT(kServedPolicy, HasSubstr("default-src 'none'"));
  EXPECT_THAT(kServedPolicy, Not(HasSubstr("unsafe")));
}

TEST(SearchPage, RefinedHitsSayWhereTheyStood) {
  SearchPage page;
  page.refinement = "8 references";
  const PageHit hit{"", "a.jpg", "7", 0.5, 0};
  PageQuery query{"a red coat", {hit, hit}, {}};
  for (const int64_t before : {2, 0, 3}) {
    query.refined.push_back(hit);
    query.refined.back().plain_rank = before;
  }
  query.refined.push_back(hit);
  query.refined.back().plain_rank = 1;
  page.queries = {query};
  const std::string html = render_search_page(page);
  for (const char* part :
       {">▲ 2<", ">▲ &gt;2<", ">▼ 1<", ">=<", "<dt>refined by</dt><dd><bdi>8 references</bdi></dd>"}) {
    EXPECT_THAT(html, HasSubstr(part));
  }
  EXPECT_EQ(count(html, "no image"), 6U);
  page.refinement.clear();
  EXPECT_THAT(render_search_page(page), Not(HasSubstr("Refined")));
}

}  // namespace
}  // namespace muster
