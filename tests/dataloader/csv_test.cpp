#include "dataloader/importers/csv.h"

#include "dataloader/formats/csv_reader.h"
#include "tests/dataloader/import_fixture.h"
#include "tests/support/reference_python.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Table = std::vector<std::vector<std::string>>;

class Csv : public ImportTest {
 protected:
  Csv() {
    for (int i = 0; i < 6; ++i) write_image("set/" + std::to_string(i) + ".jpg", i);
  }

  ImportReport run(const std::string& text, const CsvOptions& options = {}, bool skip_bad = false) {
    write_list("set/list.csv", text);
    return import(read_csv(folder_ / "set/list.csv", options), skip_bad);
  }
  std::string message(const std::string& text, const CsvOptions& options = {}) {
    return message_of([&] { run(text, options); });
  }

  Table table(const std::string& text, char delimiter = 0, bool quoted = true) {
    write_text(folder_ / "table", text);
    CsvReader reader(folder_ / "table", delimiter, quoted);
    Table all;
    for (std::vector<std::string> fields; reader.next(fields);) all.push_back(fields);
    return all;
  }
};

TEST_F(Csv, RecordsAreCutAsRfc4180Says) {
  EXPECT_EQ(table("a,b\r\n1,\"x, \"\"y\"\"\r\nz\"\r\n\r\n,\n\"\",end"),
            (Table{{"a", "b"}, {"1", "x, \"y\"\nz"}, {"", ""}, {"", "end"}}));
  EXPECT_EQ(table("\xef\xbb\xbf"
                  "a\tb,c\n5\" tall\t'x'\n"),
            (Table{{"a", "b,c"}, {"5\" tall", "'x'"}}));
  EXPECT_EQ(table("a|b\n\"x\"|\"y", '|', false), (Table{{"a", "b"}, {"\"x\"", "\"y"}}));
  EXPECT_EQ(table("\"a\tb\",c\n1,2"), (Table{{"a\tb", "c"}, {"1", "2"}}));
  EXPECT_EQ(table(""), Table{});
}

// Records of awkward fields, written by Python's csv module in the two forms; the second file holds the fields as
// "length:bytes".
TEST_F(Csv, ReadsWhatPythonWrites) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  run_reference_python(R"(
import csv, random, sys
random.seed(5)
pieces = ['a', ',', '"', '\t', '\n', ' ', "'", 'é', '人', '""', ';', '\\']
for name, delimiter, end in [('comma', ',', '\r\n'), ('tab', '\t', '\n')]:
    with open(f'{sys.argv[1]}/{name}', 'w', newline='', encoding='utf-8') as f, open(f'{sys.argv[1]}/{name}.fields', 'wb') as g:
        w = csv.writer(f, delimiter=delimiter, lineterminator=end)
        for _ in range(3000):
            row = [''.join(random.choices(pieces, k=random.randint(0, 12))) for _ in range(random.randint(2, 4))]
            w.writerow(row)
            for field in row:
                g.write(f'{len(field.encode())}:'.encode() + field.encode())
            g.write(b';')
)",
                       {folder_.path()});
  for (const auto& [name, delimiter] : {std::pair{"comma", ','}, std::pair{"tab", '\t'}}) {
    CsvReader reader(folder_ / name, delimiter);
    std::string read;
    for (std::vector<std::string> fields; reader.next(fields);) {
      for (const std::string& field : fields) read += std::to_string(field.size()) + ":" + field;
      read += ";";
    }
    EXPECT_EQ(read, read_text(folder_ / (std::string(name) + ".fields"))) << name;
  }
}

TEST_F(Csv, RowsOfOneImageAreItsCaptions) {
  const ImportReport report =
      run("split,caption,image,id,other\n"
          "train,one,0.jpg,7,x\n"
          "val,two,1.jpg,8,x\n"
          "train,three,./0.jpg,7,x\n"
          "test,,2.jpg,9,x\n"
          ",\"four, five\",3.jpg,,x\n");
  const Store store(folder_ / "out");
  ASSERT_EQ(store.images(), 4);
  EXPECT_THAT(captions_of(store, 0), ElementsAre("one", "three"));
  EXPECT_THAT(captions_of(store, 2), IsEmpty());
  EXPECT_THAT(captions_of(store, 3), ElementsAre("four, five"));
  EXPECT_EQ(store.identity_name(store.identity(0)), "7");
  EXPECT_EQ(store.identity_name(store.identity(3)), "3.jpg");
  EXPECT_EQ(store.image_bytes(1), coloured_jpeg(1));
  EXPECT_THAT(store.images_of(Split::kTrain), ElementsAre(0, 3));
  EXPECT_THAT(store.images_of(Split::kTest), ElementsAre(2));
  EXPECT_EQ(report.images_without_caption, 1);
}

TEST_F(Csv, OpenClipsTabFormNeedsNoFlag) {
  run("filepath\ttitle\n0.jpg\ta man, \"tall\"\n1.jpg\tb\n0.jpg\tc\n");
  const Store store(folder_ / "out");
  EXPECT_THAT(captions_of(store, 0), ElementsAre("a man, \"tall\"", "c"));
  EXPECT_EQ(store.identities(), 2);
  EXPECT_EQ(store.split(1), Split::kTrain);
}

TEST_F(Csv, ColumnsCanBeNamed) {
  CsvOptions options;
  options.delimiter = ';';
  options.image_key = "Bild";
  options.caption_key = "satz 2";
  options.identity_key = "none";
  options.split_key = "teil";
  run("id;bild; satz 2;text;teil\n4;0.jpg;a;b;val\n5;0.jpg;c;d;val\n", options);
  const Store store(folder_ / "out");
  EXPECT_THAT(captions_of(store, 0), ElementsAre("a", "c"));
  EXPECT_EQ(store.split(0), Split::kVal);
  EXPECT_EQ(store.identity_name(0), "0.jpg");
}

TEST_F(Csv, EachMistakeIsNamedWithItsLine) {
  const std::string head = "image,caption,identity,split\n0.jpg,a,1,train\n";
  const std::pair<std::string, const char*> cases[] = {
      {"1.jpg,a\n", "2 fields, but the header names 4"},
      {"1.jpg,\"a\"b,1,train\n", "text follows a closing quote in field 2"},
      {"1.jpg,\"a,1,train\n", "not closed before the end"},
      {"1.jpg,\"a\n" + std::string(600'000, 'x') + "\n" + std::string(600'000, 'x') + "\",1,train\n",
       "not closed within 1048576 bytes"},
      {"1.jpg,\xff,1,train\n", "not UTF-8 (byte 7)"},
      {std::string("1.jpg,\0,1,train\n", 17), "a zero byte"},
      {"1.jpg, \xe3\x80\x80,1,train\n", "a caption is empty"},
      {",a,1,train\n", "path is empty"},
      {"1.jpg,a,1,dev\n", "unknown split \"dev\"; use train, val or test"},
      {"0.jpg,a,2,train\n", "image 0.jpg has the identity 2 here and 1 in "},
      {"0.jpg,a,1,val\n", "image 0.jpg is in val here and in train in "},
      {"absent.jpg,a,1,val\n", "cannot be found"},
      {"../list.jpg,a,1,val\n", "outside the root"},
      {std::string(1 << 20, 'x') + "x,a,1,val\n", "longer than"},
  };
  for (const auto& [line, expected] : cases) {
    EXPECT_THAT(message(head + line), AllOf(HasSubstr("set/list.csv:3: "), HasSubstr(expected)));
  }
  EXPECT_THAT(message(""), HasSubstr("list is empty"));
  EXPECT_THAT(message("image,caption\n"), HasSubstr("list is empty"));
  EXPECT_THAT(message("image;caption\n0.jpg;a\n"), AllOf(HasSubstr("list.csv:1: no column is called image, filepath"),
                                                         HasSubstr("\"image;caption\""), HasSubstr("--image-key")));
  EXPECT_THAT(message("image,path,caption\n"), HasSubstr("\"image\" and \"path\" could both be the image"));
  CsvOptions options;
  options.caption_key = "words";
  EXPECT_THAT(message("image,caption\n", options), HasSubstr("no column is called \"words\""));
}

TEST_F(Csv, BadRecordsCanBeSkipped) {
  const ImportReport report =
      run("image,caption\n0.jpg,a\n1.jpg,a,b\n2.jpg,\xff\n\"3.jpg\"x,a\n4.jpg,b\nabsent.jpg,c\n", {}, true);
  EXPECT_THAT(report.refused,
              ElementsAre(HasSubstr("list.csv:3: 3 fields"), HasSubstr("list.csv:4: not UTF-8"),
                          HasSubstr("list.csv:5: text follows"), HasSubstr("list.csv:7: image absent")));
  EXPECT_EQ(Store(folder_ / "out").images(), 2);
}

}  // namespace
}  // namespace muster
