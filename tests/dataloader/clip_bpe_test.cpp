#include "dataloader/clip_bpe.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "dataloader/formats/json.h"
#include "launch/error.h"
#include "tests/support/child_process.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using Ids = std::vector<int64_t>;

const Tokenizer& clip() {
  static const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(TokenizerConfig());
  return *tokenizer;
}

Ids encode(const std::string& caption, int64_t context) {
  Ids ids(static_cast<size_t>(context), -1);
  clip().encode(caption, ids.data(), context);
  return ids;
}

struct Comparison {
  int64_t captions = 0, repaired = 0, different = 0;
};

// Against lines of tests/peers/make_token_ids.py.
Comparison compare_with(const std::string& path) {
  Comparison result;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json expected = nlohmann::json::parse(line);
    Ids ids = expected["ids"].get<Ids>();
    const auto context = expected["context"].get<int64_t>();
    ids.resize(static_cast<size_t>(context), 0);
    ++result.captions;
    result.repaired += expected["repaired"].get<bool>() ? 1 : 0;
    if (encode(expected["caption"].get<std::string>(), context) == ids) continue;
    if (++result.different <= 5) ADD_FAILURE() << "other ids than open_clip's for " << expected["caption"];
  }
  return result;
}

Comparison compare_with_open_clip(const std::vector<std::string>& arguments) {
  const TemporaryFolder folder;
  std::vector<std::string> argv = {reference_python(), MUSTER_SOURCE_DIR "/tests/peers/make_token_ids.py",
                                   MUSTER_SOURCE_DIR "/.deps/clip", folder / "ids.jsonl"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  const ProgramResult made = run_program(argv);
  EXPECT_EQ(made.exit_code, 0) << made.output;
  const Comparison result = compare_with(folder / "ids.jsonl");
  std::cout << result.captions << " captions, " << result.different << " different; of " << result.repaired
            << " that ftfy takes for mojibake the ids without that repair were compared\n";
  return result;
}

TEST(ClipBpe, DecodesForPeople) {
  const auto decoded = [](Ids ids) { return clip().decode(ids.data(), static_cast<int64_t>(ids.size())); };
  EXPECT_EQ(decoded(encode("A Man's coat, supercalifragilistic red!", 40)),
            "a man 's coat , supercalifragilistic red !");
  EXPECT_EQ(decoded(encode("caf\xc3\xa9 \xe4\xba\xba", 20)), "caf\xc3\xa9 \xe4\xba\xba");
  EXPECT_EQ(decoded(encode("a man in a coat", 5)), "a man in");
  EXPECT_EQ(decoded(encode("", 5)), "");
  Ids ids = encode("a man in a coat", 10);
  ids[2] = clip().ordinary().mask;
  EXPECT_EQ(decoded(ids), "a [MASK] in a coat");
  EXPECT_EQ(ids[2], 49405);  // IRRA's
}

TEST(ClipBpe, IdsOfKnownCaptions) {
  // Printed by open_clip's own tokenizer.
  EXPECT_EQ(encode("a photo of a cat", 8), (Ids{49406, 320, 1125, 539, 320, 2368, 49407, 0}));
  EXPECT_EQ(encode("", 4), (Ids{49406, 49407, 0, 0}));
  EXPECT_EQ(clip().vocabulary(), 49408);
}

TEST(ClipBpe, CutsSoThatTheEndTokenFits) {
  const Ids whole = encode("a photo of a cat", 7);
  for (int64_t context = 2; context < 7; ++context) {
    Ids expected(whole.begin(), whole.begin() + context - 1);
    expected.push_back(49407);
    EXPECT_EQ(encode("a photo of a cat", context), expected);
  }
}

TEST(ClipBpe, EqualsOpenClip) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const Comparison result = compare_with_open_clip({"10000", "1"});
  EXPECT_EQ(result.captions, 10000);
  EXPECT_EQ(result.different, 0);
}

TEST(ClipBpe, SlowEqualsOpenClip) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const Comparison result = compare_with_open_clip({"100000", "2"});
  EXPECT_EQ(result.captions, 100000);
  EXPECT_EQ(result.different, 0);
}

TEST(ClipBpe, SlowEqualsOpenClipOnEveryCodePoint) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const Comparison result = compare_with_open_clip({"every-code-point"});
  EXPECT_EQ(result.captions, (0x110000 - 0x800) / 8);
  EXPECT_EQ(result.different, 0);
}

TEST(ClipBpe, ManyThreadsShareOne) {
  const std::string caption = "an \xE2\x80\x9Cunusually\xE2\x80\x9D long-winded caption &amp; more, 1234 zzzqqq";
  const Ids expected = encode(caption, 40);
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) count += encode(caption, 40) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(ClipBpe, RefusesInvalidUtf8AndWritesNothing) {
  for (const char* bad : {"ab\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "ab\xE2\x82"}) {
    Ids ids(8, -1);
    EXPECT_THROW(clip().encode(bad, ids.data(), 8), DataError) << bad;
    EXPECT_EQ(ids, Ids(8, -1));
  }
  try {
    encode("ab\xFF", 8);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("byte 2"), std::string::npos) << error.what();
  }
}

TEST(ClipBpe, AHugeWordTakesNoQuadraticTime) {
  EXPECT_EQ(encode(std::string(2000000, 'x'), 5).back(), 49407);
}

std::string merges_text(size_t lines, const std::string& line) {
  std::string text = "heading\n";
  for (size_t i = 0; i < lines; ++i) text += line + "\n";
  return text;
}

std::string error_of_merges(const std::string& path) {
  try {
    ClipBpe tokenizer(path);
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ClipBpe, MergesMayBePlain) {
  const TemporaryFolder folder;
  const std::unique_ptr<gzFile_s, decltype(&gzclose)> packed(gzopen(default_merges_path().c_str(), "rb"), &gzclose);
  ASSERT_TRUE(packed);
  std::ofstream plain(folder / "merges.txt", std::ios::binary);
  char buffer[4096];
  for (int size = 0; (size = gzread(packed.get(), buffer, sizeof buffer)) > 0;) plain.write(buffer, size);
  plain.close();
  TokenizerConfig config;
  config.set_merges(folder / "merges.txt");
  Ids ids(8);
  make_tokenizer(config)->encode("a photo of a cat", ids.data(), 8);
  EXPECT_EQ(ids, encode("a photo of a cat", 8));
}

TEST(ClipBpe, RefusesMergesThatAreNotClips) {
  const TemporaryFolder folder;
  const auto error_of = [&](const std::string& text) {
    std::ofstream(folder / "merges", std::ios::binary) << text;
    return error_of_merges(folder / "merges");
  };
  EXPECT_NE(error_of_merges(folder / "absent").find("absent: cannot be read"), std::string::npos);
  EXPECT_NE(error_of("").find("has 0 merges"), std::string::npos);
  EXPECT_NE(error_of(merges_text(3, "a b")).find("has 3 merges"), std::string::npos);
  EXPECT_NE(error_of(merges_text(3, "a b c")).find("merges:2: not two symbols"), std::string::npos);
  EXPECT_NE(error_of(merges_text(BytePairs::kMerges, "a bcd")).find("merges:2: merges a symbol"), std::string::npos);
  std::ifstream original(default_merges_path(), std::ios::binary);
  std::string bytes(100000, '\0');
  original.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  EXPECT_NE(error_of(bytes).find("damaged or truncated"), std::string::npos) << error_of(bytes);
}

}  // namespace
}  // namespace muster
