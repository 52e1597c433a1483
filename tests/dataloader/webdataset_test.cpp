#include "dataloader/importers/webdataset.h"

#include <cstring>

#include "dataloader/formats/tar_reader.h"
#include "launch/error.h"
#include "tests/dataloader/import_fixture.h"
#include "tests/support/reference_python.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// One ustar header with a right checksum.
// is_signed: the checksum is a sum of signed characters, as old tars have it.
std::string tar_header(const std::string& name, const std::string& size, char type = '0', bool is_signed = false) {
  std::string block(512, '\0');
  block.replace(0, name.size(), name);
  block.replace(100, 7, "0000644");
  block.replace(124, size.size(), size);
  block[156] = type;
  block.replace(257, 8,
                std::string("ustar\0"
                            "00",
                            8));
  block.replace(148, 8, "        ");
  unsigned sum = 0;
  for (const char c : block) sum += is_signed ? static_cast<unsigned>(c) : static_cast<uint8_t>(c);
  char digits[8];
  std::snprintf(digits, sizeof digits, "%06o", sum & 0777777U);
  block.replace(148, 7, std::string(digits, 6) + std::string(1, '\0'));
  return block;
}

std::string octal(size_t size) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "%011zo", size);
  return digits;
}

std::string padded(std::string data) {
  data.resize((data.size() + 511) / 512 * 512);
  return data;
}

std::string tar_member(const std::string& name, const std::string& data, char type = '0') {
  return tar_header(name, octal(data.size()), type) + padded(data);
}

std::string jpeg_text(int index) {
  const std::vector<uint8_t> bytes = coloured_jpeg(index);
  return {bytes.begin(), bytes.end()};
}

const std::string kEnd(1024, '\0');

class Webdataset : public ImportTest {
 protected:
  std::vector<std::string> names_in(const std::string& tar) {
    write_text(folder_ / "t.tar", tar);
    TarReader reader(folder_ / "t.tar");
    std::vector<std::string> names;
    for (TarReader::Member member; reader.next(member);) names.push_back(member.name);
    return names;
  }
  ImportReport run(const std::string& tar, bool skip_bad = false) {
    write_text(folder_ / "t.tar", tar);
    return import(read_webdataset({folder_ / "t.tar"}), skip_bad);
  }
  std::string message(const std::string& tar) {
    return message_of([&] { run(tar); });
  }
};

TEST(ExpandBraces, AsAShellDoes) {
  EXPECT_THAT(expand_braces("x-{08..11}.tar"), ElementsAre("x-08.tar", "x-09.tar", "x-10.tar", "x-11.tar"));
  EXPECT_THAT(expand_braces("{9..11}"), ElementsAre("9", "10", "11"));
  EXPECT_THAT(expand_braces("{a,bc,}/{0..1}.tar"),
              ElementsAre("a/0.tar", "a/1.tar", "bc/0.tar", "bc/1.tar", "/0.tar", "/1.tar"));
  EXPECT_THAT(expand_braces("plain.tar"), ElementsAre("plain.tar"));
  EXPECT_THAT(expand_braces("{x}{1..}{2..1}{"), ElementsAre("{x}{1..}{2..1}{"));
  EXPECT_THAT(expand_braces("x-{0000..0099}.tar"), SizeIs(100));
  EXPECT_THROW(expand_braces("{0..999999999}"), ConfigError);
  EXPECT_THROW(expand_braces("{0..9999}{0..9999}"), ConfigError);
}

TEST_F(Webdataset, SamplesBecomeRows) {
  const std::string json = R"({"caption": "from json", "identity": "anna", "split": "val", "url": "x"})";
  const ImportReport report = run(
      tar_header("a/", octal(0), '5') + tar_member("a/000.jpg", jpeg_text(0)) + tar_member("a/000.txt", "one\n") +
      tar_member("a/000.json", json) + tar_member("a/001.txt", "two") + tar_member("a/001.JPEG", jpeg_text(1)) +
      tar_member("a/002.json", R"({"captions": ["x", "y"], "identity": 7})") + tar_member("a/002.jpg", jpeg_text(2)) +
      tar_member("a/002.txt", "z") + tar_member("a/003.jpg", jpeg_text(3)) + tar_member("a/003.cls", "5") + kEnd);
  const Store store(folder_ / "out");
  ASSERT_EQ(store.images(), 4);
  EXPECT_EQ(store.image_bytes(2), coloured_jpeg(2));
  EXPECT_EQ(store.source_path(1), "t.tar/a/001.JPEG");
  EXPECT_EQ(store.identity_name(store.identity(0)), "anna");
  EXPECT_EQ(store.identity_name(store.identity(1)), "t.tar/a/001");
  EXPECT_EQ(store.identity_name(store.identity(2)), "7");
  EXPECT_THAT(captions_of(store, 0), ElementsAre("one"));
  EXPECT_THAT(captions_of(store, 2), ElementsAre("x", "y"));
  EXPECT_THAT(captions_of(store, 3), IsEmpty());
  EXPECT_THAT(store.images_of(Split::kVal), ElementsAre(0));
  EXPECT_THAT(report.warnings, ElementsAre(HasSubstr(".cls"), HasSubstr("1 images have no caption")));
}

TEST_F(Webdataset, ChecksumsOfSignedCharacters) {
  const std::string name = "caf\xc3\xa9.txt";
  for (const bool is_signed : {false, true}) {
    EXPECT_THAT(names_in(tar_header(name, octal(1), '0', is_signed) + padded("x") + kEnd), ElementsAre(name));
  }
}

// Tars of Python's tarfile in its three formats, with names and members that need each extension.
TEST_F(Webdataset, ReadsWhatPythonAndTarWrite) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  write_bytes(folder_ / "0.jpg", coloured_jpeg(0));
  run_reference_python(R"(
import io, sys, tarfile
jpeg = open(sys.argv[1] + '/0.jpg', 'rb').read()
for name, form in [('u', tarfile.USTAR_FORMAT), ('g', tarfile.GNU_FORMAT), ('p', tarfile.PAX_FORMAT)]:
    with tarfile.open(f'{sys.argv[1]}/{name}.tar', 'w', format=form) as tar:
        def add(path, data):
            info = tarfile.TarInfo(path)
            info.size = len(data)
            info.mtime = 1.5 if name == 'p' else 1
            tar.addfile(info, io.BytesIO(data))
        folder = tarfile.TarInfo('d')
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        long = 'd' * 90 + '/' + 'e' * (60 if name == 'u' else 200)
        for key in ['d/plain', long, 'd/é人' if name != 'u' else 'd/x']:
            add(key + '.jpg', jpeg)
            add(key + '.txt', key.encode())
        link = tarfile.TarInfo('d/link.jpg')
        link.type = tarfile.SYMTYPE
        link.linkname = '/etc/passwd'
        tar.addfile(link)
)",
                       {folder_.path()});
  const ImportReport report = import(read_webdataset({folder_ / "{u,g,p}.tar"}));
  const Store store(folder_ / "out");
  ASSERT_EQ(store.images(), 9);
  EXPECT_THAT(report.warnings, IsEmpty());
  for (int64_t i = 0; i < 9; ++i) {
    EXPECT_EQ(store.image_bytes(i), coloured_jpeg(0));
    ASSERT_THAT(captions_of(store, i), SizeIs(1));
    EXPECT_EQ(store.source_path(i).substr(6), captions_of(store, i)[0] + ".jpg");
  }
}

TEST_F(Webdataset, HostileTarsGiveOneLine) {
  const std::string good = tar_member("a.jpg", jpeg_text(0)) + tar_member("a.txt", "x");
  std::string wrong_sum = good;
  wrong_sum[3] = 'X';
  const std::pair<std::string, const char*> cases[] = {
      {wrong_sum, "checksum is wrong (header at byte 0)"},
      {good + "short", "it ends within a header"},
      {good + tar_header("b.jpg", octal(1000)), "goes beyond the end of the file"},
      {tar_header("b.jpg", "77777777777"), "goes beyond the end of the file"},
      {tar_header("b.jpg", "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "goes beyond the end of the file"},
      {tar_header("b.jpg", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "goes beyond the end of the file"},
      {tar_header("b.jpg", "12x"), "goes beyond the end of the file"},
      {tar_member("pax", "20 size=99999999999\n", 'x') + good, "goes beyond the end of the file"},
      {tar_member("pax", "99 path=x\n", 'x') + good, "pax header is no list of records"},
      {tar_member("pax", "3 path=x\n", 'x') + good, "pax header is no list of records"},
      {tar_member("pax", "path=x\n", 'x') + good, "pax header is no list of records"},
      {tar_header("pax", octal(2 << 20), 'x') + std::string(3 << 20, 'x'), "at most 1048576 are read here"},
      {tar_header("b.jpg", octal(0), 'S'), "sparse"},
      {std::string("\x1f\x8b\x08\0more", 8), "is compressed"},
      {"a text file that is no tar at all" + std::string(600, 'x'), "checksum is wrong"},
      {"", "the list is empty"},
      {kEnd, "the list is empty"},
      {tar_member("a.txt", "x") + kEnd, "t.tar: a: the sample has no image"},
      {tar_member("a.jpg", "no image"), "not a JPEG or PNG"},
      {tar_member("a.jpg", ""), "is empty"},
      {tar_member("a.webp", "RIFFxxxxWEBP"), "not a JPEG or PNG"},
      {tar_member("a.jpg", jpeg_text(0)) + tar_member("a.png", jpeg_text(1)), "two images"},
      {good + tar_member("b.jpg", jpeg_text(1)) + good, "was listed before ("},
      {good + tar_member("a.json", "{"), "not valid JSON"},
      {good + tar_member("a.json", "[]"), "must be an object, not a list"},
      {good + tar_member("a.json", R"({"split": "x"})"), "unknown split"},
      {tar_member("a.jpg", jpeg_text(0)) + tar_member("a.txt", "\xff"), "the caption is not UTF-8"},
      {tar_member("a.jpg", jpeg_text(0)) + tar_member("a.txt", " \n"), "caption is empty"},
      {tar_member("\xff.jpg", jpeg_text(0)), "the name is not UTF-8"},
      {tar_member("a.jpg", jpeg_text(0)) + tar_member("a.txt", std::string((1 << 20) + 1, 'x')), "at most 1048576"},
  };
  for (const auto& [tar, expected] : cases) EXPECT_THAT(message(tar), HasSubstr(expected)) << expected;
  EXPECT_THAT(message_of([&] { read_webdataset({folder_ / "absent-{0..1}.tar"}); }),
              AllOf(HasSubstr("absent-0.tar"), HasSubstr("No such file")));
  std::filesystem::create_directory(folder_ / "other");
  write_text(folder_ / "other/t.tar", good);
  write_text(folder_ / "t.tar", good);
  EXPECT_THAT(message_of([&] {
                read_webdataset({folder_ / "t.tar", folder_ / "other/t.tar"});
              }),
              HasSubstr("have one name"));
}

// A member's name is a label: nothing is opened or written by it.
TEST_F(Webdataset, NamesAreNoPaths) {
  run(tar_member("../../etc/passwd.jpg", jpeg_text(0)) + tar_member("/abs.jpg", jpeg_text(1)));
  EXPECT_EQ(Store(folder_ / "out").source_path(0), "t.tar/../../etc/passwd.jpg");
  EXPECT_THAT(names_in(tar_member("x", "") + tar_member("dir/", "") + kEnd + tar_member("behind", "")),
              ElementsAre("x"));
}

}  // namespace
}  // namespace muster
