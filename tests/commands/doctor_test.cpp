// muster doctor data on sets made here: what it says, and that the command it ends with does what it says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "dataloader/image.h"
#include "dataloader/store.h"
#include "tests/support/child_process.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class Doctor : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(folder_ / path).parent_path());
    std::ofstream(folder_ / path, std::ios::binary) << text;
  }
  void write_image(const std::string& path) {
    const std::vector<uint8_t> jpeg = encode_jpeg({8, 8, std::vector<uint8_t>(192, 100)}, 90);
    write(path, std::string(jpeg.begin(), jpeg.end()));
  }

  // In the test's folder, so that paths are short.
  ProgramResult doctor(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"env", "-C", folder_.path(), muster_program(), "doctor"});
    return run_program(arguments);
  }

  // The output's last line, typed into a shell that finds the program as `muster`.
  ProgramResult type(const std::string& output) {
    const std::string command = output.substr(output.rfind("next:\n  ") + 8);
    const std::string folder = fs::path(muster_program()).parent_path();
    return run_program({"env", "-C", folder_.path(), "bash", "-c", "PATH=" + folder + ":$PATH; " + command});
  }

  std::vector<std::string> names() {
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path())) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  }

  TemporaryFolder folder_;
};

TEST_F(Doctor, APersonSetWithFlaws) {
  write_image("my set/CUHK-PEDES/imgs/a/1.jpg");
  write_image("my set/CUHK-PEDES/imgs/a/2.jpg");
  write("my set/CUHK-PEDES/reid_raw.json",
        R"([{"id": 1, "file_path": "a/1.jpg", "captions": ["a man", "red\u001b[31m\nblue"], "split": "train"},
            {"id": 2, "file_path": "a/2.jpg", "captions": ["a man", "red\u001b[31m\nblue"], "split": "test"},
            {"id": 3, "file_path": "a/go\nne.jpg", "captions": ["x"], "split": "test"}])");
  const std::vector<std::string> before = names();
  const ProgramResult result = doctor({"data", "my set"});
  EXPECT_EQ(names(), before);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.output,
            "my set: CUHK-PEDES; the list is my set/CUHK-PEDES/reid_raw.json, images are below my "
            "set/CUHK-PEDES/imgs\n"
            "\n"
            "split     images  captions  identities   as published: images  captions  identities\n"
            "train          1         2           1                 34,054    68,126      11,003\n"
            "val            0         0           0                  3,078     6,158       1,000\n"
            "test           1         2           1                  3,074     6,156       1,000\n"
            "\n"
            "finding: 1 images are missing\n"
            "  my set/CUHK-PEDES/reid_raw.json[2]: a/go\\nne.jpg\n"
            "finding: 9 counts are not those of CUHK-PEDES as published\n"
            "  train images: 1 here, 34054 in CUHK-PEDES as published\n"
            "  train captions: 2 here, 68126 in CUHK-PEDES as published\n"
            "  train identities: 1 here, 11003 in CUHK-PEDES as published\n"
            "  val images: 0 here, 3078 in CUHK-PEDES as published\n"
            "  val captions: 0 here, 6158 in CUHK-PEDES as published\n"
            "  and 4 more\n"
            "note: 2 captions stand under several identities\n"
            "  \"a man\" under 2 identities: 1, 2\n"
            "  \"red\\x1B[31m\\nblue\" under 2 identities: 1, 2\n"
            "note: there is no val split; muster import --holdout-identities N makes one of identities of train\n"
            "note: pictures were not decoded; --decode does that\n"
            "1 rows would be refused; --skip-bad leaves them out\n"
            "\n"
            "next:\n"
            "  muster import cuhk-pedes 'my set' --out store --skip-bad\n");
  EXPECT_EQ(type(result.output).exit_code, 0);
  const Store store(folder_ / "store");
  EXPECT_EQ(store.images(), 2);
  EXPECT_EQ(store.captions(), 4);
  EXPECT_THAT(doctor({"data", "my set"}).output, HasSubstr("--out store-2 --skip-bad\n"));
  EXPECT_EQ(doctor({"data", "store"}).exit_code, 0);
}

TEST_F(Doctor, ATableWithOptionsAndAStrangeName) {
  write_image("pictures/1.jpg");
  write_image("pictures/2.jpg");
  const std::string name = "it's \"a\"\ttable$HOME.csv";
  write(name, "pic;words\n1.jpg;one\n1.jpg;two\n2.jpg;three\n");
  const ProgramResult blind = doctor({"data", name});
  EXPECT_EQ(blind.exit_code, 2);
  EXPECT_THAT(blind.output, HasSubstr("--image-key"));
  const ProgramResult result = doctor({"data", name, "--root", "pictures", "--delimiter", ";", "--image-key", "pic",
                                       "--caption-key", "words", "--split", "test", "--decode"});
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("test           2         3           2\n"));
  EXPECT_THAT(result.output, HasSubstr("\nno findings\n"));
  EXPECT_THAT(result.output, HasSubstr("table$HOME.csv' --root pictures --split test --delimiter ';' --image-key pic "
                                       "--caption-key words --out store\n"));
  const ProgramResult typed = type(result.output);
  EXPECT_EQ(typed.exit_code, 0) << typed.output;
  EXPECT_EQ(Store(folder_ / "store").images_of(Split::kTest).size(), 2U);
}

TEST_F(Doctor, DecodesOnlyWhenAsked) {
  write_image("1.jpg");
  write("2.jpg", "no picture");
  write("people.jsonl",
        "{\"image\": \"1.jpg\", \"captions\": [\"a\"]}\n{\"image\": \"2.jpg\", \"captions\": [\"b\"]}\n");
  EXPECT_EQ(doctor({"data", "."}).exit_code, 0);
  const ProgramResult decoded = doctor({"data", "people.jsonl", "--decode"});
  EXPECT_EQ(decoded.exit_code, 1);
  EXPECT_THAT(decoded.output, HasSubstr("finding: 1 images cannot be read\n  people.jsonl:2: 2.jpg: not a JPEG"));
  EXPECT_THAT(decoded.output, Not(HasSubstr("--decode")));
}

TEST_F(Doctor, OfTheMachine) {
  const ProgramResult result = doctor({});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* line : {"muster +0\\.", "LibTorch +2\\.", "MPI +[A-Z]", "ranks +1,", "cores +[1-9]", "memory +[0-9]",
                           "/dev/shm +", "this folder +[0-9.]+ GiB free, writable", "CLIP's merges +/"}) {
    EXPECT_THAT("\n" + result.output, testing::ContainsRegex(std::string("\n") + line)) << result.output;
  }
  const ProgramResult two = run_program(under_mpirun(2, {muster_program(), "doctor"}));
  EXPECT_THAT(two.output, HasSubstr("2, 2 of them on this host\n"));
}

}  // namespace
}  // namespace muster
