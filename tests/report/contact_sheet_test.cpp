#include "trainer/report/contact_sheet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "launch/error.h"
#include "tests/support/file_bytes.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kHostile = "<script>alert(1)</script><img src=x onerror=\"alert(2)\"> </pre></main>' & \xff";
const std::vector<uint8_t> kJpeg{0xff, 0xd8, 0xff, 0xe0, 1, 2, 3, 4};

std::string page_of(const ContactSheet& sheet) {
  const TemporaryFolder folder;
  write_contact_sheet(folder / "sheet.html", sheet);
  const std::vector<uint8_t> bytes = read_bytes(folder / "sheet.html");
  return {bytes.begin(), bytes.end()};
}

size_t count(const std::string& text, const std::string& part) {
  size_t times = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++times;
  return times;
}

TEST(ContactSheet, HoldsEveryImageAndTakesTextsAsHostile) {
  ContactSheet sheet{kHostile, {{kHostile, kHostile}}, kHostile, {}};
  sheet.rows.push_back({kHostile, kJpeg, {kHostile, "second"}, {{kJpeg, kHostile}, {kJpeg, "changed"}}});
  sheet.rows.push_back({"plain", kJpeg, {}, {}});
  const std::string page = page_of(sheet);
  EXPECT_EQ(count(page, "<img src=\"data:image/jpeg;base64,"), 4U);
  EXPECT_THAT(page, HasSubstr("<p><bdi>changed</bdi></p>"));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_EQ(count(page, "<img"), 4U);
  EXPECT_EQ(count(page, "&lt;script&gt;"), 8U);  // twice the title, a fact's two halves, config, name, two captions
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("\xff")));
  EXPECT_THAT(page, Not(HasSubstr("http:")));
}

TEST(ContactSheet, IsWholeOrAbsent) {
  const TemporaryFolder folder;
  EXPECT_THROW(write_contact_sheet(folder / "absent/sheet.html", {}), DataError);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace muster
