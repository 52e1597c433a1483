// CUHK-PEDES, ICFG-PEDES and RSTPReid in their published layouts, small.
#include "dataloader/importers/person_sets.h"

#include "tests/dataloader/import_fixture.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// As reid_raw.json is: one line, ids from 1, more than two captions now and then, processed_tokens.
constexpr char kCuhk[] =
    R"([{"id": 1, "file_path": "CUHK01/0363004.png", "captions": ["a man", "a tall man"], "split": "train", )"
    R"("processed_tokens": [["a", "man"], ["a", "tall", "man"]]}, )"
    R"({"id": 1, "file_path": "cam_a/1.jpg", "captions": ["b", "c", "d, \"e\" ]"], "split": "train", "processed_tokens": []}, )"
    R"({"id": 12004, "file_path": "Market/2.jpg", "captions": ["f"], "split": "val", "processed_tokens": []}, )"
    R"({"id": 13003, "file_path": "test_query/3.jpg", "captions": ["g", "h"], "split": "test", "processed_tokens": []}])";
constexpr char kIcfg[] =
    R"([{"split": "train", "captions": ["a"], "file_path": "train/0000/0000_000.jpg", "processed_tokens": [["a"]], "id": 0},
 {"split": "test", "captions": ["b"], "file_path": "test/0001/0001_000.jpg", "processed_tokens": [["b"]], "id": 3102}])";
constexpr char kRstp[] =
    R"([{"id": 0, "img_path": "0000_c14_0031.jpg", "captions": ["a", "\u4eba <div>"], "split": "train"},
        {"id": 3701, "img_path": "3701_c1_0002.jpg", "captions": ["a", "b"], "split": "val"},
        {"id": 3901, "img_path": "3901_c1_0003.jpg", "captions": ["a", "b"], "split": "test"}])";

class PersonSets : public ImportTest {
 protected:
  void make_cuhk(const std::string& images) {
    write_image(images + "CUHK01/0363004.png", 1);
    write_image(images + "cam_a/1.jpg", 2);
    write_image(images + "Market/2.jpg", 3);
    write_image(images + "test_query/3.jpg", 4);
  }
  void expect_cuhk(const std::string& path, const std::string& root = "") {
    const ImportReport report = import(read_person_set(person_set("cuhk-pedes"), folder_ / path, root));
    const Store store(folder_ / "out");
    EXPECT_EQ(store.images(), 4);
    EXPECT_EQ(store.identities(), 3);
    EXPECT_EQ(store.identity(0), store.identity(1));
    EXPECT_EQ(store.identity_name(2), "13003");
    EXPECT_THAT(captions_of(store, 1), ElementsAre("b", "c", "d, \"e\" ]"));
    EXPECT_EQ(store.source_path(2), "Market/2.jpg");
    EXPECT_EQ(store.image_bytes(2), coloured_jpeg(3));
    EXPECT_THAT(store.images_of(Split::kVal), ElementsAre(2));
    EXPECT_THAT(report.differences, testing::Contains("train images: 2 here, 34054 in CUHK-PEDES as published"));
    EXPECT_EQ(report.differences.size(), 9U);
    std::filesystem::remove_all(folder_ / "out");
  }
  std::string cuhk_message(const std::string& path) {
    return message_of([&] { import(read_person_set(person_set("cuhk-pedes"), folder_ / path)); });
  }
};

TEST_F(PersonSets, CuhkInBothLayoutsFromEveryPath) {
  make_cuhk("flat/imgs/");
  write_list("flat/reid_raw.json", kCuhk);
  expect_cuhk("flat");
  expect_cuhk("flat/reid_raw.json");
  make_cuhk("root/CUHK-PEDES/imgs/");
  write_list("root/CUHK-PEDES/reid_raw.json", "\xef\xbb\xbf" + std::string(kCuhk));
  expect_cuhk("root");
  expect_cuhk("root/CUHK-PEDES");
  make_cuhk("beside/CUHK-PEDES/imgs/");
  write_list("beside/reid_raw.json", kCuhk);
  expect_cuhk("beside");
  make_cuhk("elsewhere/");
  write_list("bare/reid_raw.json", kCuhk);
  expect_cuhk("bare", folder_ / "elsewhere");
}

TEST_F(PersonSets, IcfgInBothSpellings) {
  for (const char* name : {"ICFG-PEDES", "ICFG_PEDES"}) {
    const std::string base = "root/" + std::string(name) + "/";
    write_image(base + "imgs/train/0000/0000_000.jpg", 1);
    write_image(base + "imgs/test/0001/0001_000.jpg", 2);
    write_list(base + name + ".json", kIcfg);
    const ImportReport report = import(read_person_set(person_set("icfg-pedes"), folder_ / "root"));
    const Store store(folder_ / "out");
    EXPECT_THAT(store.images_of(Split::kTrain), ElementsAre(0));
    EXPECT_THAT(store.images_of(Split::kTest), ElementsAre(1));
    EXPECT_EQ(report.differences.size(), 6U);  // there is no val, as published
    std::filesystem::remove_all(folder_ / "root");
    std::filesystem::remove_all(folder_ / "out");
  }
}

TEST_F(PersonSets, Rstpreid) {
  for (const char* image : {"0000_c14_0031.jpg", "3701_c1_0002.jpg", "3901_c1_0003.jpg"})
    write_image("RSTPReid/imgs/" + std::string(image), image[1]);
  write_list("RSTPReid/data_captions.json", kRstp);
  import(read_person_set(person_set("rstpreid"), folder_.path()));
  const Store store(folder_ / "out");
  EXPECT_THAT(captions_of(store, 0), ElementsAre("a", "\xe4\xba\xba <div>"));
  EXPECT_THAT(store.images_of(Split::kTest), ElementsAre(2));
}

TEST_F(PersonSets, CountsAsPublishedAreNoDifference) {
  ImportList list;
  const PublishedCounts counts = {"mine", {{{1, 2, 1}, {0, 0, 0}, {0, 0, 0}}}};
  write_image("a.jpg", 1);
  list.root = folder_.path();
  list.published = &counts;
  list.rows.resize(1);
  list.rows[0].image = "a.jpg";
  list.rows[0].captions = {"a", "b"};
  EXPECT_THAT(import(list).differences, IsEmpty());
}

TEST_F(PersonSets, EachMistakeIsNamed) {
  EXPECT_THAT(cuhk_message(""), AllOf(HasSubstr("reid_raw.json is neither in "), HasSubstr("CUHK-PEDES")));
  EXPECT_THAT(cuhk_message("absent.json"), HasSubstr("No such file"));
  write_list("CUHK-PEDES/caption_all.json", "[]");
  EXPECT_THAT(cuhk_message(""), HasSubstr("caption_all.json, which many people have, is the same list without splits"));
  write_list("CUHK-PEDES/reid_raw.json", kCuhk);
  EXPECT_THAT(cuhk_message(""), AllOf(HasSubstr("no folder imgs beside "), HasSubstr("--root")));
  make_cuhk("CUHK-PEDES/imgs/");
  std::filesystem::remove(folder_ / "CUHK-PEDES/imgs/Market/2.jpg");
  EXPECT_THAT(cuhk_message(""), AllOf(HasSubstr("reid_raw.json[2]: image Market/2.jpg cannot be found")));
  const std::string good = R"({"id": 1, "file_path": "cam_a/1.jpg", "captions": ["b"], "split": "train"})";
  const std::pair<std::string, const char*> cases[] = {
      {R"([{"id": 1, "file_path": "cam_a/1.jpg", "captions": ["b"]}])",
       "json[0] has no field split: this is not the reid_raw.json of CUHK-PEDES; caption_all.json"},
      {"[" + good + R"(, {"id": 1, "file_path": "Market/2.jpg", "captions": ["b"]}])",
       "json[1]: the field split is missing"},
      {"{\"a\": 1}", "must hold a JSON list"},
      {"[" + good, "not valid JSON (near byte"},
      {"[" + good + " " + good + "]", "json[0]: not valid JSON"},
      {"[" + good + ",,", "not valid JSON (near byte"},
      {"[", "not valid JSON (near byte 2)"},
      {"[[[[[", "not valid JSON"},
      {"[17]", "json[0]: an entry must be a JSON object, not a number"},
      {R"([{"id": [], "file_path": "cam_a/1.jpg", "captions": ["b"], "split": "train"}])", "id must be a string"},
      {R"([{"id": 1, "file_path": 5, "captions": ["b"], "split": "train"}])",
       "file_path must be a string, not a number"},
      {R"([{"id": 1, "img_path": "cam_a/1.jpg", "captions": ["b"], "split": "train"}])", "file_path is missing"},
      {R"([{"id": 1, "file_path": "cam_a/1.jpg", "captions": "b", "split": "train"}])", "captions must be a list"},
      {R"([{"id": 1, "file_path": "cam_a/1.jpg", "captions": ["\u200b"], "split": "train"}])", "caption is empty"},
      {R"([{"id": 1, "file_path": "cam_a/1.jpg", "captions": ["b"], "split": "query"}])", "unknown split \"query\""},
      {"[\"\xff\"]", "json[0]: not UTF-8"},
      {"[]", "the list is empty"},
      {"", "must hold a JSON list"},
  };
  for (const auto& [text, expected] : cases) {
    write_list("CUHK-PEDES/reid_raw.json", text);
    EXPECT_THAT(cuhk_message(""), HasSubstr(expected)) << text;
  }
}

}  // namespace
}  // namespace muster
