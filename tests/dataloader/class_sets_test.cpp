// CUB and Flowers as Reed et al. cut them, small.
#include "dataloader/importers/class_sets.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "dataloader/importers/source.h"
#include "launch/error.h"
#include "tests/dataloader/import_fixture.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

class ClassSets : public ImportTest {
 protected:
  const ClassSet& cub() { return class_sets()[0]; }
  const ClassSet& flowers() { return class_sets()[1]; }

  void write_texts(const std::string& base, const std::string& name, const std::string& image,
                   const std::string& text) {
    write_list(base + "text_c10/" + name + "/" + image + ".txt", text);
  }

  // Three classes of birds, one a split; the pictures in `images`.
  void make_cub(const std::string& base, const std::string& images) {
    write_list(base + "trainclasses.txt", "002.Laysan\n");
    write_list(base + "valclasses.txt", "001.Black\r\n\n");
    write_list(base + "testclasses.txt", "003.Sooty");
    write_list(base + "trainvalclasses.txt", "001.Black\n002.Laysan\n");
    int index = 0;
    for (const char* name : {"001.Black", "002.Laysan", "003.Sooty"}) {
      for (const char* image : {"b_2", "a_1"}) {
        write_texts(base, name, image, std::string(name) + " " + image + "\nsecond \n\n");
        write_image(images + name + "/" + image + ".jpg", ++index);
      }
    }
  }

  std::string message(const std::string& path, const std::string& root = "") {
    return message_of([&] { import(read_class_set(cub(), folder_ / path, root)); });
  }
};

TEST_F(ClassSets, CubInTheOrderOfItsLists) {
  make_cub("set/", "set/images/");
  write_texts("set/", "001.Black", "._a_1", "what macOS leaves beside a file");
  const ImportReport report = import(read_class_set(cub(), folder_ / "set"));
  const Store store(folder_ / "out");
  ASSERT_EQ(store.images(), 6);
  EXPECT_EQ(store.identity_name(0), "002.Laysan");
  EXPECT_EQ(store.source_path(0), "002.Laysan/a_1.jpg");
  EXPECT_THAT(captions_of(store, 1), ElementsAre("002.Laysan b_2", "second "));
  EXPECT_EQ(store.image_bytes(1), coloured_jpeg(3));
  EXPECT_THAT(store.images_of(Split::kTrain), ElementsAre(0, 1));
  EXPECT_THAT(store.images_of(Split::kVal), ElementsAre(2, 3));
  EXPECT_THAT(store.images_of(Split::kTest), ElementsAre(4, 5));
  EXPECT_EQ(store.identity_name(store.identity(2)), "001.Black");
  EXPECT_THAT(report.differences, Contains("test images: 2 here, 2933 in CUB as published"));
  EXPECT_THAT(report.differences, Contains("train identities: 1 here, 100 in CUB as published"));
  EXPECT_EQ(report.differences.size(), 5U);  // images and captions of train and val are published together
  EXPECT_THAT(report.warnings, Contains("train and val together: 4 images here, 8855 in CUB as published"));
  EXPECT_THAT(report.warnings, Contains("train and val together: 2 classes here, 150 in CUB as published"));
}

TEST_F(ClassSets, PicturesAreFoundWherePeopleHaveThem) {
  for (const auto& [base, images] : std::vector<std::pair<std::string, std::string>>{
           {"a/", "a/CUB_200_2011/images/"}, {"b/birds/", "b/CUB_200_2011/images/"}, {"c/", "elsewhere/"}}) {
    make_cub(base, images);
    const std::string root = base == "c/" ? folder_ / "elsewhere" : "";
    import(read_class_set(cub(), folder_ / base.substr(0, 1), root));
    EXPECT_EQ(Store(folder_ / "out").images(), 6) << base;
    fs::remove_all(folder_ / "out");
    EXPECT_EQ(find_source(folder_ / base.substr(0, 1)).classes, &cub()) << base;
  }
}

// All pictures of Flowers lie in one folder, and class_00001 tells the set.
TEST_F(ClassSets, FlowersFromOneFolderOfPictures) {
  write_list("set/trainvalclasses.txt", "class_00001\n");
  write_list("set/testclasses.txt", "class_00002\n");
  for (const char* name : {"class_00001", "class_00002"}) {
    const std::string image = std::string("image_0000") + name[10];
    write_texts("set/", name, image, "a flower\n");
    write_image("set/jpg/" + image + ".jpg", name[10] - '0');
  }
  const Source source = find_source(folder_ / "set");
  EXPECT_EQ(source.kind, Source::Kind::kClassSet);
  EXPECT_EQ(source.classes, &flowers());
  const ImportReport report = import(read_class_set(flowers(), folder_ / "set"));
  const Store store(folder_ / "out");
  EXPECT_EQ(store.source_path(1), "image_00002.jpg");
  EXPECT_EQ(store.split(1), Split::kTest);
  EXPECT_THAT(report.warnings, Contains(HasSubstr("the classes of trainvalclasses.txt are all train")));
}

TEST_F(ClassSets, APictureWithoutCaptionsIsInTheGalleryOnly) {
  make_cub("set/", "set/images/");
  write_image("set/images/003.Sooty/c_3.jpg", 7);
  const ImportReport report = import(read_class_set(cub(), folder_ / "set"));
  const Store store(folder_ / "out");
  EXPECT_EQ(store.source_path(6), "003.Sooty/c_3.jpg");
  EXPECT_EQ(store.caption_count(6), 0);
  EXPECT_EQ(report.images_without_caption, 1);
}

TEST_F(ClassSets, HoldsOutOnlyWhereThereIsNoVal) {
  make_cub("set/", "set/images/");
  ImportList list = read_class_set(cub(), folder_ / "set");
  EXPECT_THROW(hold_out_identities(list, 1, 0), ConfigError);
  fs::remove(folder_ / "set/valclasses.txt");
  list = read_class_set(cub(), folder_ / "set");
  hold_out_identities(list, 1, 0);
  EXPECT_EQ(
      std::count_if(list.rows.begin(), list.rows.end(), [](const ImportRow& row) { return row.split == Split::kVal; }),
      2);
}

TEST_F(ClassSets, WhatIsMissingIsNamed) {
  fs::create_directories(folder_ / "set/text_c10");
  EXPECT_THAT(message("set"), AllOf(HasSubstr("testclasses.txt and text_c10/ are neither in "), HasSubstr("set")));
  write_list("set/testclasses.txt", "003.Sooty\n");
  EXPECT_THAT(message("set"), HasSubstr("set lacks trainclasses.txt and valclasses.txt, or trainvalclasses.txt"));
  write_list("set/trainclasses.txt", "001.Black\n");
  EXPECT_THAT(message("set"), HasSubstr("lacks trainclasses.txt and valclasses.txt"));
  make_cub("set/", "other/");
  EXPECT_THAT(message("set"), HasSubstr("has neither a folder for each class, such as 002.Laysan, nor pictures"));
  EXPECT_THAT(message("set", folder_ / "set"), HasSubstr("give the folder of the original pictures with --root"));
  make_cub("set/", "set/images/");
  fs::remove(folder_ / "set/images/001.Black/a_1.jpg");
  EXPECT_THAT(message("set"),
              AllOf(HasSubstr("text_c10/001.Black/a_1.txt: image 001.Black/a_1.jpg cannot be found below "),
                    HasSubstr("/set/images/")));
  make_cub("set/", "set/images/");
  write_texts("set/", "002.Laysan", "a_1", " \n\n");
  EXPECT_THAT(message("set"), HasSubstr("002.Laysan/a_1.txt: there is no caption in it"));
  write_texts("set/", "002.Laysan", "a_1", "good\n\xff\xfe\n");
  EXPECT_THAT(message("set"), HasSubstr("002.Laysan/a_1.txt: line 2: not UTF-8"));
  make_cub("set/", "set/images/");
  fs::remove_all(folder_ / "set/text_c10/001.Black");
  EXPECT_THAT(message("set"), HasSubstr("valclasses.txt:1: class 001.Black has no folder text_c10/001.Black"));
  make_cub("set/", "set/images/");
  write_list("set/testclasses.txt", "003.Sooty\n001.Black\n");
  EXPECT_THAT(message("set"), AllOf(HasSubstr("testclasses.txt:2: class 001.Black was listed before ("),
                                    HasSubstr("valclasses.txt:1)")));
  write_list("set/testclasses.txt", "../003.Sooty\n");
  EXPECT_THAT(message("set"), HasSubstr("testclasses.txt:1: a class is the name of a folder, without slashes"));
}

}  // namespace
}  // namespace muster
