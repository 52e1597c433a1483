// Atomic files, hashes, lines and JSON.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/file.h"
#include "dataloader/formats/hashes.h"
#include "dataloader/formats/json.h"
#include "dataloader/formats/line_reader.h"
#include "tests/dataloader/sample_store.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(AtomicFile, ReplacesAFileAsAWhole) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", "old");
  write_file_atomically(folder / "f", [](const ByteSink& sink) {
    sink("new ", 4);
    sink("and longer", 10);
  });
  EXPECT_EQ(read_file(folder / "f", 100), "new and longer");
  EXPECT_FALSE(std::filesystem::exists(folder / "f.partial"));
}

TEST(AtomicFile, SaysWhatWasHandedOver) {
  const TemporaryFolder folder;
  std::string all;
  const WrittenFile written = write_file_atomically(folder / "f", [&](const ByteSink& sink) {
    for (const size_t size : {3UL, 1000000UL, 50000UL, 3000000UL, 1UL, 0UL}) {  // pieces below and above a MiB
      const std::string piece(size, static_cast<char>('a' + size % 7));
      sink(piece.data(), size);
      all += piece;
    }
  });
  EXPECT_EQ(written.bytes, all.size());
  EXPECT_EQ(written.xxh3_128, xxh3_128_hex(all.data(), all.size()));
  EXPECT_EQ(read_file(folder / "f", all.size()), all);
}

TEST(AtomicFile, AFailureLeavesTheOldFileAndNothingElse) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", "old");
  const auto fail = [](const ByteSink& sink) {
    sink("half", 4);
    throw std::runtime_error("stop");
  };
  EXPECT_THROW(write_file_atomically(folder / "f", fail), std::runtime_error);
  EXPECT_EQ(folder_contents(folder.path()), (std::vector<std::pair<std::string, std::string>>{{"f", "old"}}));
  EXPECT_THAT(error_of([&] { write_file_atomically(folder / "absent/f", "x"); }),
              AllOf(HasSubstr("absent/f"), HasSubstr("No such file or directory")));
}

TEST(AtomicFile, AFullDiskLeavesTheOldFileAndNothingElse) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", "old");
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string message = error_of([&] { write_file_atomically(folder / "f", std::string(2000, 'x')); });
    _exit(message.find("free some space") == std::string::npos);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(folder_contents(folder.path()), (std::vector<std::pair<std::string, std::string>>{{"f", "old"}}));
}

TEST(AtomicFile, ReadingChecksWhatItIsGiven) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", "12345");
  EXPECT_EQ(read_file(folder / "f", 5), "12345");
  EXPECT_THAT(error_of([&] { read_file(folder / "f", 4); }), AllOf(HasSubstr("5 bytes"), HasSubstr("at most 4")));
  EXPECT_THAT(error_of([&] { read_file(folder / "g", 4); }), HasSubstr("No such file or directory"));
  EXPECT_THAT(error_of([&] { read_file(folder.path(), 4); }), HasSubstr("not a regular file"));
  mkfifo((folder / "fifo").c_str(), 0600);
  EXPECT_THAT(error_of([&] { read_file(folder / "fifo", 4); }), HasSubstr("not a regular file"));
  const InputFile file(folder / "f");
  char byte = 0;
  EXPECT_THAT(error_of([&] { file.read(&byte, 1, 5); }), HasSubstr("ends too early"));
}

// Values of the reference implementation (xxHash 0.8).
TEST(Hashes, AreXxh3) {
  EXPECT_EQ(xxh3_64("", 0), 0x2D06800538D394C2U);
  EXPECT_EQ(xxh3_64("abc", 3), 0x78AF5F94892F3950U);
  EXPECT_EQ(xxh3_128_hex("", 0), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(xxh3_128_hex("abc", 3), "06b05ab6733a618578af5f94892f3950");
}

TEST(Hashes, OfAFileAreThoseOfItsBytes) {
  const TemporaryFolder folder;
  std::string text((2 << 20) + 12345, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * i / 7);
  write_text(folder / "f", text);
  EXPECT_EQ(xxh3_128_hex_of_file(folder / "f"), xxh3_128_hex(text.data(), text.size()));
  const std::string around = text.substr(0, 1000) + text.substr(1 << 20);
  EXPECT_EQ(xxh3_128_hex_of_ranges(InputFile(folder / "f"), {{0, 1000}, {1 << 20, text.size()}}),
            xxh3_128_hex(around.data(), around.size()));
  EXPECT_THAT(error_of([&] { xxh3_128_hex_of_file(folder / "g"); }), HasSubstr("No such file"));
}

std::vector<std::string> lines_of(const std::string& path) {
  LineReader reader(path, 100'000);
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);) lines.push_back(line);
  EXPECT_EQ(reader.line_number(), static_cast<int64_t>(lines.size()));
  return lines;
}

TEST(LineReader, SplitsLines) {
  const TemporaryFolder folder;
  const auto lines = [&](const std::string& text) {
    write_text(folder / "f", text);
    return lines_of(folder / "f");
  };
  EXPECT_THAT(lines(""), ElementsAre());
  EXPECT_THAT(lines("\n"), ElementsAre(""));
  EXPECT_THAT(lines("a\r\n\nb"), ElementsAre("a", "", "b"));
  const std::string long_line(65536, 'x');  // the end falls on the end of the reader's buffer
  EXPECT_THAT(lines(long_line + "\n" + long_line + "y\nz\n"), ElementsAre(long_line, long_line + "y", "z"));
  EXPECT_THAT(error_of([&] { lines("a\n" + std::string(100'001, 'x')); }),
              AllOf(HasSubstr("f:2: "), HasSubstr("longer than 100000")));
}

TEST(Json, RefusesWhatIsAmbiguousOrTooDeep) {
  EXPECT_EQ(parse_json(R"({"a":[1,"\u00e9"]})", "f")["a"][1], "\xc3\xa9");
  const auto message = [](const std::string& text) { return error_of([&] { parse_json(text, "f:7"); }); };
  EXPECT_THAT(message(R"({"a":1,"a":2})"), AllOf(HasSubstr("f:7: "), HasSubstr("twice")));
  EXPECT_EQ(message(R"([{"a":1},{"a":2}])"), "");
  EXPECT_THAT(message(R"({"a":1)"), HasSubstr("f:7: not valid JSON"));
  EXPECT_THAT(message(R"({"a":1} x)"), HasSubstr("not valid JSON"));
  EXPECT_THAT(message(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(message("\"caf\xe9\""), HasSubstr("f:7: not UTF-8 (byte 5)"));
  EXPECT_THAT(message(R"("\ud800")"), HasSubstr("not valid JSON"));
  EXPECT_THAT(message("1e999"), HasSubstr("too large"));
  EXPECT_EQ(message(std::string(32, '[') + std::string(32, ']')), "");
  EXPECT_THAT(message(std::string(33, '[') + std::string(33, ']')), HasSubstr("nested deeper than 32"));
  EXPECT_THAT(message(std::string(1'000'000, '[')), HasSubstr("nested deeper"));
}

}  // namespace
}  // namespace muster
