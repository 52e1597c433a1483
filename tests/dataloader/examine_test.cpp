// What an import would lose, against sets whose flaws were put in by hand.
#include "dataloader/importers/examine.h"

#include "dataloader/importers/csv.h"
#include "dataloader/importers/jsonl.h"
#include "dataloader/importers/source.h"
#include "dataloader/text/escaped.h"
#include "tests/dataloader/import_fixture.h"

namespace muster {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Examine : public ImportTest {
 protected:
  Examination examine(const std::string& list, bool decode = false) {
    ExamineOptions options;
    options.decode = decode;
    options.threads = 2;
    return examine_list(read_jsonl(folder_ / list), options);
  }
  static int64_t count(const Examination& examination, FindingKind kind) {
    const auto found = examination.findings.find(kind);
    return found == examination.findings.end() ? 0 : found->second.count;
  }
};

TEST_F(Examine, EveryFlawIsCountedAndNamed) {
  for (int i = 0; i < 4; ++i) write_image(std::to_string(i) + ".jpg", i + 1);
  write_list("empty.jpg", "");
  write_list("broken.jpg", "no picture");
  write_list("list.jsonl",
             R"({"image": "0.jpg", "identity": "ann", "captions": ["a man", "red"], "split": "train"}
{"image": "1.jpg", "identity": "bob", "captions": ["a man", "a man"], "split": "train"}
{"image": "./1.jpg", "identity": "bob", "captions": ["blue"], "split": "train"}
{"image": "2.jpg", "identity": "ann", "captions": ["red"], "split": "val"}
{"image": "3.jpg", "identity": "cy", "captions": [], "split": "val"}
{"image": "gone.jpg", "identity": "cy", "captions": ["a man"], "split": "test"}
{"image": "empty.jpg", "identity": "cy", "captions": ["red"], "split": "test"}
{"image": "broken.jpg", "identity": "dan", "captions": ["green"], "split": "test"}
{"image": "../out.jpg", "captions": ["a"]}
{"image": 5}
)");
  const Examination seen = examine("list.jsonl");
  EXPECT_EQ(count(seen, FindingKind::kMissing), 2);
  EXPECT_THAT(seen.findings.at(FindingKind::kMissing).first[0], HasSubstr("list.jsonl:6: gone.jpg"));
  EXPECT_EQ(count(seen, FindingKind::kUnreadable), 1);
  EXPECT_THAT(seen.findings.at(FindingKind::kUnreadable).first[0], HasSubstr("list.jsonl:7: empty.jpg is empty"));
  EXPECT_EQ(count(seen, FindingKind::kListedTwice), 1);
  EXPECT_EQ(count(seen, FindingKind::kBadRow), 1);
  EXPECT_THAT(seen.report.refused, SizeIs(5));
  EXPECT_FALSE(seen.is_whole());
  // Of the five rows that are left.
  const auto& splits = seen.report.splits;
  EXPECT_EQ(splits[0].images, 2);
  EXPECT_EQ(splits[0].captions, 4);
  EXPECT_EQ(splits[0].identities, 2);
  EXPECT_EQ(splits[1].images, 2);
  EXPECT_EQ(splits[1].captions, 1);
  EXPECT_EQ(splits[1].identities, 2);
  EXPECT_EQ(splits[2].images, 1);
  EXPECT_EQ(count(seen, FindingKind::kWithoutCaption), 1);
  EXPECT_EQ(seen.report.identities_in_two_splits, 1);  // ann
  // "red" stands under ann twice, and under cy in a row that is refused.
  EXPECT_EQ(count(seen, FindingKind::kSharedCaption), 1);
  EXPECT_THAT(seen.findings.at(FindingKind::kSharedCaption).first,
              ElementsAre("\"a man\" under 2 identities: ann, bob"));

  const Examination decoded = examine("list.jsonl", /*decode=*/true);
  EXPECT_EQ(count(decoded, FindingKind::kUnreadable), 2);
  EXPECT_THAT(decoded.findings.at(FindingKind::kUnreadable).first[1], HasSubstr("broken.jpg: not a JPEG or PNG"));
  EXPECT_EQ(decoded.report.splits[2].images, 0);
}

// The same verdict as the import's own, row by row.
TEST_F(Examine, RefusesWhatTheImportRefuses) {
  std::string lines;
  for (int i = 0; i < 12; ++i) {
    if (i % 3 > 0) write_image(std::to_string(i) + ".jpg", i + 1);
    lines += R"({"image": ")" + std::to_string(i % 5 == 0 ? 4 : i) + R"(.jpg", "captions": ["c"]})" + "\n";
  }
  write_list("list.jsonl", lines);
  const Examination seen = examine("list.jsonl");
  const ImportReport report = import(read_jsonl(folder_ / "list.jsonl"), /*skip_bad=*/true);
  EXPECT_EQ(seen.report.refused.size(), report.refused.size());
  EXPECT_GT(report.refused.size(), 3U);
  EXPECT_EQ(seen.report.splits[0].images, report.splits[0].images);
}

TEST_F(Examine, NothingLeftIsNoError) {
  write_list("list.jsonl", "{\"image\": \"gone.jpg\", \"captions\": [\"a\"]}\n");
  const Examination seen = examine("list.jsonl");
  EXPECT_EQ(seen.report.splits[0].images, 0);
  EXPECT_THAT(seen.report.refused, SizeIs(1));
  write_list("none.jsonl", "\n");
  EXPECT_THAT(message_of([&] { examine("none.jsonl"); }), HasSubstr("names no image"));
}

TEST_F(Examine, OfManyOnlyTheFirstAreNamed) {
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += "{\"image\": \"" + std::to_string(i) + ".jpg\", \"captions\": [\"a\"]}\n";
  write_list("list.jsonl", lines);
  const Finding missing = examine("list.jsonl").findings.at(FindingKind::kMissing);
  EXPECT_EQ(missing.count, 40);
  EXPECT_THAT(missing.first, SizeIs(5));
  EXPECT_THAT(missing.first[4], HasSubstr("list.jsonl:5: 4.jpg"));
}

TEST_F(Examine, AStoreIsJudgedByItsContents) {
  for (int i = 0; i < 3; ++i) write_image(std::to_string(i) + ".jpg", i + 1);
  write_list("list.jsonl", R"({"image": "0.jpg", "identity": 1, "captions": ["a", "b"]}
{"image": "1.jpg", "identity": 2, "captions": ["b"]}
{"image": "2.jpg", "identity": 2, "captions": []}
)");
  import(read_jsonl(folder_ / "list.jsonl"));
  const Store store(folder_ / "out");
  ExamineOptions options;
  options.decode = true;
  const Examination seen = examine_store(store, options);
  EXPECT_TRUE(seen.is_whole());
  EXPECT_EQ(seen.report.splits[0].images, 3);
  EXPECT_THAT(seen.findings.at(FindingKind::kSharedCaption).first, ElementsAre("\"b\" under 2 identities: 1, 2"));
  EXPECT_EQ(seen.findings.at(FindingKind::kWithoutCaption).first[0], "image 2: 2.jpg");
}

class FindSource : public ImportTest {
 protected:
  Source::Kind kind(const std::string& path) { return find_source(folder_ / path).kind; }
};

TEST_F(FindSource, EachWayInByFileAndFolder) {
  using Kind = Source::Kind;
  write_list("c/CUHK_PEDES/reid_raw.json", "[]");
  write_list("i/ICFG_PEDES.json", "[]");
  write_list("r/RSTPReid/data_captions.json", "[]");
  EXPECT_STREQ(find_source(folder_ / "c").set->command, "cuhk-pedes");
  EXPECT_STREQ(find_source(folder_ / "c/CUHK_PEDES/reid_raw.json").set->command, "cuhk-pedes");
  EXPECT_STREQ(find_source(folder_ / "i").set->command, "icfg-pedes");
  EXPECT_STREQ(find_source(folder_ / "r").set->command, "rstpreid");
  write_list("l/people.jsonl", "{}\n");
  write_list("t/people.csv", "filepath,title\n");
  write_list("t2/people.tsv", "filepath\ttitle\n");
  write_list("other/people.list", "\xef\xbb\xbf {\"image\": 1}\n");
  write_list("other/people.txt", "filepath\ttitle\n");
  EXPECT_EQ(kind("l"), Kind::kJsonl);
  EXPECT_EQ(kind("t"), Kind::kCsv);
  EXPECT_EQ(kind("t2"), Kind::kCsv);
  EXPECT_EQ(kind("other/people.list"), Kind::kJsonl);
  EXPECT_EQ(kind("other/people.txt"), Kind::kCsv);
  write_list("w/b.tar", std::string(257, 'x') + "ustar");
  write_list("w/a.tar", std::string(257, 'x') + "ustar");
  write_list("w/.hidden.tar", "");
  EXPECT_THAT(find_source(folder_ / "w").paths, ElementsAre(folder_ / "w/a.tar", folder_ / "w/b.tar"));
  EXPECT_EQ(kind("w/{a,b}.tar"), Kind::kWebdataset);
  write_store(folder_ / "s", sample_records(3), 1 << 20);
  EXPECT_EQ(kind("s"), Kind::kStore);
  EXPECT_EQ(find_source(folder_ / "s/manifest.textproto").paths[0], folder_ / "s");
}

TEST_F(FindSource, FirstBytes) {
  EXPECT_EQ(file_kind(""), FileKind::kEmpty);
  EXPECT_EQ(file_kind(" \n"), FileKind::kEmpty);
  EXPECT_EQ(file_kind("\n [1"), FileKind::kJsonList);
  EXPECT_EQ(file_kind("\xef\xbb\xbf{"), FileKind::kJsonObject);
  EXPECT_EQ(file_kind("a,b"), FileKind::kText);
  EXPECT_EQ(file_kind(std::string("a\0b", 3)), FileKind::kBinary);
  EXPECT_EQ(file_kind(std::string(257, '\0') + "ustar"), FileKind::kTar);
  EXPECT_EQ(file_kind(std::string(257, '\0') + "usta"), FileKind::kBinary);
  EXPECT_EQ(file_kind("\xff\xfei"), FileKind::kUtf16);
  EXPECT_EQ(file_kind("\xff\xd8\xff\xe0"), FileKind::kPicture);
  EXPECT_EQ(file_kind("\x89HDF\r\n\x1a\n"), FileKind::kHdf5);
}

TEST(Escaped, ShowsWhatIsNotSeen) {
  EXPECT_EQ(escaped("a b \xe4\xba\xba"), "a b \xe4\xba\xba");
  EXPECT_EQ(escaped("a\nb\r\t\x1b[31m\x7f"), "a\\nb\\r\\t\\x1B[31m\\x7F");
  EXPECT_EQ(escaped("\xe2\x80\x8b\xe2\x80\xae\xc2\x85"), "\\u{200B}\\u{202E}\\u{0085}");
  EXPECT_EQ(escaped("\xff\xe4\xba"), "\\xFF\\xE4\\xBA");
  EXPECT_EQ(escaped(std::string("\0", 1)), "\\x00");
  EXPECT_EQ(escaped("\xe4\xba\xba\xe4\xba\xba\xe4\xba\xba", 2), "\xe4\xba\xba\xe4\xba\xba...");
  EXPECT_EQ(escaped("abc", 3), "abc");
}

}  // namespace
}  // namespace muster
