#include "dataloader/word_piece.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "dataloader/formats/json.h"
#include "launch/error.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using Ids = std::vector<int64_t>;

const std::string kGolden = MUSTER_SOURCE_DIR "/tests/golden/word_pieces/";

Ids encode(const WordPiece& tokenizer, const std::string& caption, int64_t context) {
  Ids ids(static_cast<size_t>(context), -1);
  tokenizer.encode(caption, ids.data(), context);
  return ids;
}

// Lines of tests/peers/make_word_pieces.py.
TEST(WordPieceTest, IdsOfTwoThousandHardCaptionsAreBerts) {
  const WordPiece tokenizer(kGolden + "vocab.txt");
  std::ifstream file(kGolden + "captions.jsonl");
  int64_t captions = 0, different = 0;
  for (std::string line; std::getline(file, line); ++captions) {
    const nlohmann::json expected = nlohmann::json::parse(line);
    Ids ids = expected["ids"].get<Ids>();
    const auto context = expected["context"].get<int64_t>();
    ids.resize(static_cast<size_t>(context), 0);
    if (encode(tokenizer, expected["caption"].get<std::string>(), context) == ids) continue;
    if (++different <= 5) ADD_FAILURE() << "other ids than transformers' for " << expected["caption"];
  }
  EXPECT_EQ(captions, 2000);
  EXPECT_EQ(different, 0);
}

class SmallVocabulary : public testing::Test {
 protected:
  WordPiece with(const std::string& pieces) {
    std::ofstream(path_) << "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" << pieces;
    return WordPiece(path_);
  }
  std::string refused(const std::string& text) {
    std::ofstream(path_) << text;
    try {
      WordPiece tokenizer(path_);
    } catch (const DataError& error) {
      return error.what();
    }
    return "taken";
  }

  TemporaryFolder folder_;
  std::string path_ = folder_ / "vocab.txt";
};

TEST_F(SmallVocabulary, TakesTheLongestPiecesFromTheLeft) {
  const WordPiece tokenizer = with("un\n##aff\n##able\nunaffable\n##a\nr\n##ed\n.\n");
  EXPECT_EQ(encode(tokenizer, "Unaffable unaffa", 8), (Ids{2, 8, 5, 6, 9, 3, 0, 0}));
  EXPECT_EQ(encode(tokenizer, "red. blue", 7), (Ids{2, 10, 11, 12, 1, 3, 0}));
  EXPECT_EQ(encode(tokenizer, "red. blue", 4), (Ids{2, 10, 11, 3}));
  EXPECT_EQ(encode(tokenizer, "[SEP]", 6), (Ids{2, 1, 1, 1, 3, 0}));
  EXPECT_EQ(encode(tokenizer, std::string(101, 'r'), 4), (Ids{2, 1, 3, 0}));
  Ids ids = encode(tokenizer,
                   "r\xc3\xa9"
                   "d unaffable",
                   8);
  EXPECT_EQ(tokenizer.decode(ids.data(), 8), "red unaffable");
  EXPECT_EQ(tokenizer.ordinary().first, 5);
  EXPECT_EQ(tokenizer.ordinary().mask, 4);
  EXPECT_EQ(tokenizer.vocabulary(), 13);
}

TEST_F(SmallVocabulary, AVocabularyThatIsNoneIsRefused) {
  EXPECT_NE(refused("").find("has no [PAD]"), std::string::npos);
  EXPECT_NE(refused("a\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n").find("[PAD] is not in the first line"),
            std::string::npos);
  EXPECT_NE(refused("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n").find("has no [MASK]"), std::string::npos);
  EXPECT_NE(refused("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\na\n").find(":8: the piece a stands in line 6 too"),
            std::string::npos);
  EXPECT_NE(refused("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n").find("no piece behind the special ones"),
            std::string::npos);
  EXPECT_THROW(WordPiece(folder_ / "missing"), DataError);
  EXPECT_THROW(encode(with("a\n"), "\xff", 5), DataError);
}

}  // namespace
}  // namespace muster
