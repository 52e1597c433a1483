// Rules by rules made for the test, and the whole tagger against captions that another hand has marked.
#include "dataloader/text/brill_tagger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "dataloader/caption_pruner.h"
#include "dataloader/data_files.h"
#include "dataloader/noun_tokens.h"
#include "dataloader/text/penn_words.h"
#include "launch/error.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

class BrillRules : public testing::Test {
 protected:
  void write(const std::string& lexicon, const std::string& lexical, const std::string& contextual) {
    std::ofstream(folder_ / "en-lexicon.txt") << lexicon;
    std::ofstream(folder_ / "en-morphology.txt") << lexical;
    std::ofstream(folder_ / "en-context.txt") << contextual;
  }

  // The tags of words apart by spaces.
  std::vector<std::string> tags(const std::string& words) const {
    std::istringstream stream(words);
    std::vector<std::string> list;
    for (std::string word; stream >> word;) list.push_back(word);
    const BrillTagger tagger(folder_.path());
    const std::vector<std::string_view> tags = tagger.tag(list);
    return {tags.begin(), tags.end()};
  }

  std::string refusal() const {
    try {
      BrillTagger{folder_.path()};
    } catch (const DataError& error) {
      return error.what();
    }
    return "taken";
  }

  TemporaryFolder folder_;
};

// Rules that no word of these tests meets.
constexpr char kNoLexical[] = "NN zzz fhassuf 3 NNS x\n", kNoContextual[] = "NN VB CURWD zzz\n";

constexpr char kLexicon[] = ";;; a comment\nthe DT\nred JJ\ncoat NN\nwalks VBZ\nhappy JJ\nTHE NNP\nx CD\nN NN\nP NNP\n";

TEST_F(BrillRules, KnownWordsHaveTheLexiconsTag) {
  write(kLexicon, kNoLexical, kNoContextual);
  EXPECT_THAT(tags("the red coat walks"), ElementsAre("DT", "JJ", "NN", "VBZ"));
  EXPECT_THAT(tags("The The"), ElementsAre("DT", "NNP"));  // only the first word may be written large
}

TEST_F(BrillRules, UnknownWordsAreNumbersNamesOrNouns) {
  write(kLexicon, kNoLexical, kNoContextual);
  EXPECT_THAT(tags("zebra Zorro 12 3.5 10:30 x1"), ElementsAre("NN", "NNP", "CD", "CD", "CD", "NN"));
}

TEST_F(BrillRules, LexicalRules) {
  write(
      kLexicon,
      "NN q fchar A1 x\nqq char A2 x\nNN pre fhaspref 3 A3 x\nsuf hassuf 3 A4 x\nNN un faddpref 2 A5 x\ny addsuf 1 A6 "
      "x\n"
      "un deletepref 2 A7 x\nNN ly fdeletesuf 2 A8 x\ncoat goodleft A9 x\nred goodright B1 x\nNNP ed fhassuf 2 B2 x\n",
      kNoContextual);
  EXPECT_THAT(tags("aqa aqqa preset a-suf happ unhappy happyly aa coat red bb Uted"),
              ElementsAre("A1", "A2", "A3", "A4", "A6", "A7", "A8", "A9", "NN", "JJ", "B1", "B2"));
}

TEST_F(BrillRules, ContextualRules) {
  const auto changed = [&](const std::string& rule, const std::string& words) {
    write("a A\nb B\nc C\nd D\n", kNoLexical, rule);
    return tags(words);
  };
  EXPECT_THAT(changed("A Z PREVTAG B", "b a a"), ElementsAre("B", "Z", "A"));
  EXPECT_THAT(changed("A Z NEXTTAG B", "a b a"), ElementsAre("Z", "B", "A"));
  EXPECT_THAT(changed("A Z PREV2TAG B", "b c a a"), ElementsAre("B", "C", "Z", "A"));
  EXPECT_THAT(changed("A Z NEXT2TAG B", "a a c b"), ElementsAre("A", "Z", "C", "B"));
  EXPECT_THAT(changed("A Z PREV1OR2TAG B", "b c a a"), ElementsAre("B", "C", "Z", "A"));
  EXPECT_THAT(changed("A Z NEXT1OR2OR3TAG B", "a a c c b"), ElementsAre("A", "Z", "C", "C", "B"));
  EXPECT_THAT(changed("A Z SURROUNDTAG B C", "b a c b a b"), ElementsAre("B", "Z", "C", "B", "A", "B"));
  EXPECT_THAT(changed("A Z SURROUNDTAG STAART STAART", "a"), ElementsAre("Z"));
  EXPECT_THAT(changed("A Z NEXTTAG STAART", "a a"), ElementsAre("A", "Z"));
  EXPECT_THAT(changed("* Z CURWD c", "a c"), ElementsAre("A", "Z"));
  EXPECT_THAT(changed("A Z PREVWD b", "b a a"), ElementsAre("B", "Z", "A"));
  EXPECT_THAT(changed("A Z NEXT1OR2WD b", "a a c b"), ElementsAre("A", "Z", "C", "B"));
  EXPECT_THAT(changed("A Z WDPREVTAG B a", "b a c a"), ElementsAre("B", "Z", "C", "A"));
  EXPECT_THAT(changed("A Z WDNEXTTAG a B", "a b a c"), ElementsAre("Z", "B", "A", "C"));
  EXPECT_THAT(changed("A Z WDAND2AFT a b", "a c b a b"), ElementsAre("Z", "C", "B", "A", "B"));
  EXPECT_THAT(changed("A Z WDAND2TAGBFR B a", "b c a"), ElementsAre("B", "C", "Z"));
  EXPECT_THAT(changed("A Z WDAND2TAGAFT a B", "a c b"), ElementsAre("Z", "C", "B"));
  EXPECT_THAT(changed("A Z LBIGRAM b a", "b a c a"), ElementsAre("B", "Z", "C", "A"));
  EXPECT_THAT(changed("A Z RBIGRAM a b", "a b a c"), ElementsAre("Z", "B", "A", "C"));
  EXPECT_THAT(changed("A Z PREVBIGRAM B C", "b c a c b a"), ElementsAre("B", "C", "Z", "C", "B", "A"));
  EXPECT_THAT(changed("A Z NEXTBIGRAM B C", "a b c a c b"), ElementsAre("Z", "B", "C", "A", "C", "B"));
  // Rule by rule, each from left to right on what it has changed already.
  EXPECT_THAT(changed("A B PREVTAG B\nB C PREVTAG D", "d b a"), ElementsAre("D", "C", "B"));
}

TEST_F(BrillRules, WrongFilesAreNamed) {
  EXPECT_THAT(refusal(), HasSubstr("en-lexicon.txt: cannot be read"));
  write("", "", "");
  EXPECT_THAT(refusal(), HasSubstr("en-lexicon.txt: holds no word"));
  write("word\n", "", "");
  EXPECT_THAT(refusal(), HasSubstr("en-lexicon.txt:1: no word and tag"));
  write(kLexicon, ";;;\nNN s nosuchtest 1 NNS x\n", "");
  EXPECT_THAT(refusal(), HasSubstr("en-morphology.txt:2: no lexical rule that is known"));
  write(kLexicon, "s fhassuf\n", "");
  EXPECT_THAT(refusal(), HasSubstr("en-morphology.txt:1"));
  write(kLexicon, ";;; none\n", kNoContextual);
  EXPECT_THAT(refusal(), HasSubstr("en-morphology.txt: holds no rule"));
  write(kLexicon, kNoLexical, "\n");
  EXPECT_THAT(refusal(), HasSubstr("en-context.txt: holds no rule"));
  write(kLexicon, kNoLexical, "NN VB PREVTAG\n");
  EXPECT_THAT(refusal(), HasSubstr("en-context.txt:1: no contextual rule that is known"));
  write(kLexicon, kNoLexical, "NN VB SURROUNDTAG DT\n");
  EXPECT_THAT(refusal(), HasSubstr("en-context.txt:1"));
  write("the DT\n", "NNS zzz fhassuf 3 NNS x\n", "DT VB CURWD zzz\n");
  EXPECT_THROW(tags("zebra"), DataError);
}

bool is_kept(std::string_view tag) {
  return tag.substr(0, 2) == "NN" || tag.substr(0, 2) == "JJ" || tag.substr(0, 3) == "PRP";
}

// 200 captions whose tags were set by hand before the tagger was compared with them.
TEST(BrillTagger, KeepsTheWordsThatAnotherHandMarked) {
  const BrillTagger tagger(default_data_file("tagger"));
  std::ifstream file(MUSTER_SOURCE_DIR "/tests/golden/marked_captions.jsonl");
  int64_t captions = 0, words = 0, agreed = 0, same_tag = 0;
  for (std::string line; std::getline(file, line); ++captions) {
    const json caption = json::parse(line);
    // The tagger sees the hand's words, sentence by sentence.
    std::vector<std::string> sentence;
    std::vector<std::string> marks;
    const auto compare = [&] {
      const std::vector<std::string_view> tags = tagger.tag(sentence);
      for (size_t i = 0; i < tags.size(); ++i) {
        ++words;
        same_tag += tags[i] == marks[i];
        agreed += is_kept(tags[i]) == is_kept(marks[i]);
      }
      sentence.clear();
      marks.clear();
    };
    for (const json& word : caption.at("tags")) {
      sentence.push_back(word.at(0));
      marks.push_back(word.at(1));
      if (marks.back() == ".") compare();
    }
    compare();
  }
  EXPECT_EQ(captions, 200);
  const auto share = [&](int64_t count) { return static_cast<double>(count) / static_cast<double>(words); };
  RecordProperty("kept_words_agree", std::to_string(share(agreed)));
  RecordProperty("tags_agree", std::to_string(share(same_tag)));
  EXPECT_GE(share(agreed), 0.95) << "tags agree in " << share(same_tag);
}

TEST(CaptionPruner, KeepsNounsAdjectivesAndPronouns) {
  const BrillTagger tagger(default_data_file("tagger"));
  EXPECT_EQ(prune_caption("The man is wearing a red shirt and he carries his black bag.", tagger),
            "man red shirt he his black bag");
  EXPECT_EQ(prune_caption("A tall woman. She has long hair", tagger), "tall woman She long hair");
}

TEST(CaptionPruner, NeverLeavesNothing) {
  const BrillTagger tagger(default_data_file("tagger"));
  EXPECT_EQ(prune_caption("walking and running", tagger), "walking and running");
  EXPECT_EQ(prune_caption("...", tagger), "...");
  EXPECT_EQ(prune_caption("", tagger), "");
}

// Each token of CLIP's vocabulary against the tagger's word for it, and the words that captions of people are made of.
TEST(NounTokens, AreThoseThatTheTaggerCallsNounsOrAdjectives) {
  const BrillTagger tagger(default_data_file("tagger"));
  const auto tokenizer = make_tokenizer({});
  const std::vector<bool> nouns = find_noun_tokens(*tokenizer, tagger);
  ASSERT_EQ(static_cast<int64_t>(nouns.size()), tokenizer->vocabulary());
  const auto is_noun = [&](const std::string& word) {
    int64_t ids[3];
    tokenizer->encode(word, ids, 3);
    EXPECT_EQ(tokenizer->decode(ids, 3), word) << "is one token";
    return static_cast<bool>(nouns[static_cast<size_t>(ids[1])]);
  };
  for (const char* word : {"man", "shirt", "red", "long", "backpack", "trousers", "taller"})
    EXPECT_TRUE(is_noun(word)) << word;
  for (const char* word : {"the", "is", "wearing", "and", "she", ",", "with"}) EXPECT_FALSE(is_noun(word)) << word;
  const Tokenizer::Ordinary ordinary = tokenizer->ordinary();
  EXPECT_FALSE(nouns[0]);  // it also fills up
  for (int64_t id = ordinary.end; id < tokenizer->vocabulary(); ++id) EXPECT_FALSE(nouns[static_cast<size_t>(id)]);
}

}  // namespace
}  // namespace muster
