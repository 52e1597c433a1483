#include "dataloader/importers/jsonl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/dataloader/import_fixture.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A data set on the disk: images/0.jpg .. images/9.jpg and what a test adds.
class Jsonl : public ImportTest {
 protected:
  Jsonl() {
    for (int i = 0; i < 10; ++i) write_image("set/images/" + std::to_string(i) + ".jpg", i);
  }

  ImportReport run(const std::string& lines, bool skip_bad = false) {
    write_list("set/list.jsonl", lines);
    return import(read_jsonl(folder_ / "set/list.jsonl"), skip_bad);
  }

  std::string message(const std::string& lines, bool skip_bad = false) {
    return message_of([&] { run(lines, skip_bad); });
  }
};

TEST_F(Jsonl, TakesEveryField) {
  const ImportReport report =
      run("\xef\xbb\xbf{\"image\":\"images/0.jpg\",\"identity\":\"anna\",\"captions\":[\"a red coat\",\" \xe4\xba\xba "
          "\"],\"split\":\"train\"}\r\n"
          "\n"
          R"({"image":"images/1.jpg","identity":17,"caption":"one caption","split":"val"})"
          "\n"
          R"({"image":"images/../images/2.jpg","captions":["c"]})"
          "\n"
          R"({"image":"images/3.jpg","identity":null,"captions":["d"],"split":"test"})"
          "\n"
          R"({"image":"images/5.jpg","identity":"anna","captions":["f"],"split":"val"})"
          "\n"
          R"({"image":"images/4.jpg","identity":"anna","captions":["e"],"split":"test","spilt":"x"})");
  const Store store(folder_ / "out");
  ASSERT_EQ(store.images(), 6);
  EXPECT_EQ(store.image_bytes(1), coloured_jpeg(1));
  EXPECT_EQ(store.width(3), 15);
  EXPECT_EQ(store.height(3), 20);
  EXPECT_EQ(store.caption(1), " \xe4\xba\xba ");
  EXPECT_EQ(store.caption(2), "one caption");
  EXPECT_EQ(store.identity_name(store.identity(1)), "17");
  EXPECT_EQ(store.identity_name(store.identity(2)), "images/../images/2.jpg");
  EXPECT_EQ(store.identity_name(store.identity(3)), "images/3.jpg");
  EXPECT_EQ(store.identity(5), store.identity(0));
  EXPECT_THAT(store.images_of(Split::kTrain), ElementsAre(0, 2));
  EXPECT_THAT(store.images_of(Split::kVal), ElementsAre(1, 4));
  EXPECT_THAT(store.images_of(Split::kTest), ElementsAre(3, 5));

  EXPECT_EQ(report.splits[0].images, 2);
  EXPECT_EQ(report.splits[0].captions, 3);
  EXPECT_EQ(report.splits[2].identities, 2);
  EXPECT_EQ(report.identities_in_two_splits, 1);  // anna, in all three
  EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("\"spilt\""), HasSubstr("1 identities")));
  EXPECT_THAT(report.refused, IsEmpty());
}

TEST_F(Jsonl, ImagesWithoutCaptionsAreStoredAndCounted) {
  const ImportReport report =
      run("\xef\xbb\xbf\n"
          R"({"image":"images/0.jpg","captions":[]})"
          "\n"
          R"({"image":"images/1.jpg","captions":["a"],"split":"val"})");
  const Store store(folder_ / "out");
  EXPECT_EQ(store.images(), 2);
  EXPECT_THAT(captions_of(store, 0), IsEmpty());
  EXPECT_THAT(captions_of(store, 1), ElementsAre("a"));
  EXPECT_EQ(report.images_without_caption, 1);
  EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("1 images have no caption")));
}

TEST_F(Jsonl, AnAbsolutePathBelowTheRootAndADefaultSplitAreTaken) {
  write_list("set/list.jsonl", R"({"image":")" + folder_ / "set/images/1.jpg" + R"(","caption":"a"})");
  import(read_jsonl(folder_ / "set/list.jsonl", {"", Split::kTest}));
  EXPECT_EQ(Store(folder_ / "out").split(0), Split::kTest);
}

TEST_F(Jsonl, EachMistakeIsNamedWithItsLine) {
  const std::string good = R"({"image":"images/0.jpg","captions":["a"]})"
                           "\n";
  const std::string truncated = read_text(folder_ / "set/images/1.jpg");
  write_text(folder_ / "set/images/truncated.jpg", truncated.substr(0, truncated.size() / 2));
  write_text(folder_ / "set/images/text.jpg", "not an image at all");
  write_text(folder_ / "set/images/empty.jpg", "");
  write_text(folder_ / "outside.jpg", truncated);
  fs::create_symlink(folder_ / "outside.jpg", folder_ / "set/images/link.jpg");
  const auto image = [](const std::string& path) { return R"({"image":")" + path + R"(","captions":["a"]})"; };
  const std::pair<std::string, const char*> cases[] = {
      {R"({"image":"images/1.jpg")", "not valid JSON"},
      {"{\"image\":\"images/1.jpg\",\"captions\":[\"caf\xe9\"]}", "not UTF-8"},
      {"[1]", "must be a JSON object, not a list"},
      {R"({"captions":["a"]})", "field image"},
      {R"({"image":5,"captions":["a"]})", "image must be a string, not a number"},
      {R"({"image":"images/1.jpg"})", "give captions"},
      {R"({"image":"images/1.jpg","captions":["a"],"caption":"b"})", "give captions"},
      {R"({"image":"images/1.jpg","captions":"a"})", "list of strings, not a string"},
      {R"({"image":"images/1.jpg","captions":[1]})", "each caption must be a string"},
      {R"({"image":"images/1.jpg","captions":["\u00a0\u3000\u200b"]})", "a caption is empty"},
      {R"({"image":"images/1.jpg","captions":["a"]})" + std::string(1, '\0') + "}", "a zero byte"},
      {R"({"image":"images/1.jpg","captions":["a"," \t"]})", "a caption is empty"},
      {R"({"image":"images/1.jpg","captions":["a"],"identity":1.5})", "identity must be"},
      {R"({"image":"images/1.jpg","captions":["a"],"identity":""})", "identity must be"},
      {R"({"image":"images/1.jpg","captions":["a"],"split":"dev"})", "unknown split \"dev\"; use train, val or test"},
      {R"({"image":"images/1.jpg","captions":["a"],"split":1})", "split must be a string"},
      {R"({"image":"images/1.jpg","image":"images/2.jpg","captions":["a"]})", "twice"},
      {image("images/absent.jpg"), "cannot be found"},
      {image("images"), "not a regular file"},
      {image(""), "path is empty"},
      {image("images/1.jpg\\u0000.png"), "zero byte"},
      {image("images/empty.jpg"), "is empty"},
      {image("images/text.jpg"), "images/text.jpg"},
      {image("images/truncated.jpg"), "images/truncated.jpg"},
      {image("../outside.jpg"), "outside the root"},
      {image("../absent.jpg"), "outside the root"},
      {image("images/../../outside.jpg"), "outside the root"},
      {image(folder_ / "outside.jpg"), "outside the root"},
      {image(folder_ / "absent.jpg"), "outside the root"},
      {image(folder_ / "set/images/absent.jpg"), "cannot be found"},
      {image("images/link.jpg"), "outside the root"},
      {image("images/0.jpg"), "was listed before ("},
      {image("images//./0.jpg"), "was listed before ("},
      {std::string(70, '['), "nested deeper"},
      {"{\"image\":\"" + std::string(1 << 20, 'x') + "\"}", "longer than"},
  };
  for (const auto& [line, expected] : cases) {
    EXPECT_THAT(message(good + line + "\n"), AllOf(HasSubstr("set/list.jsonl:2: "), HasSubstr(expected)));
  }
  EXPECT_THAT(message(""), HasSubstr("list is empty"));
  EXPECT_THAT(message("\n \n"), HasSubstr("list is empty"));
  EXPECT_THAT(message("\xff\xfe{\0"), HasSubstr("UTF-16"));
}

TEST_F(Jsonl, BadRowsCanBeSkippedAndAreListed) {
  write_text(folder_ / "set/images/2.jpg", "broken");
  std::string lines;
  for (int i = 0; i < 10; ++i) {
    lines += i == 5 ? "nonsense\n" : R"({"image":"images/)" + std::to_string(i) + R"(.jpg","captions":["a"]})" + "\n";
  }
  const ImportReport report = run(lines, true);
  EXPECT_THAT(report.refused, ElementsAre(HasSubstr("list.jsonl:3: "), HasSubstr("list.jsonl:6: not valid JSON")));
  EXPECT_EQ(report.splits[0].images, 8);
  EXPECT_EQ(Store(folder_ / "out").source_path(2), "images/3.jpg");
  fs::remove_all(folder_ / "out");
  EXPECT_THAT(message("nonsense\n", true), AllOf(HasSubstr("all 1 rows"), HasSubstr("list.jsonl:1: ")));
}

}  // namespace
}  // namespace muster
