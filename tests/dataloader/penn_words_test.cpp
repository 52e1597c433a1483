// Expected words are NLTK 3's word_tokenize's, but for quotation marks and glued full stops (penn_words.h).
#include "dataloader/text/penn_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace muster {
namespace {

using Sentences = std::vector<std::vector<std::string>>;

TEST(PennWords, PunctuationIsApart) {
  EXPECT_EQ(penn_words("A man, in red; walks (fast)."),
            (Sentences{{"A", "man", ",", "in", "red", ";", "walks", "(", "fast", ")", "."}}));
  EXPECT_EQ(penn_words("a  black\tbag"), (Sentences{{"a", "black", "bag"}}));
  EXPECT_EQ(penn_words(""), Sentences{});
  EXPECT_EQ(penn_words(" \n"), Sentences{});
  EXPECT_EQ(penn_words("a shirt -- or coat... dark"), (Sentences{{"a", "shirt", "--", "or", "coat", "...", "dark"}}));
  EXPECT_EQ(penn_words("at 10:30, 1,000 of 50% and $5"),
            (Sentences{{"at", "10:30", ",", "1,000", "of", "50", "%", "and", "$", "5"}}));
}

TEST(PennWords, ContractionsAreTwoWords) {
  EXPECT_EQ(penn_words("She's got the woman's bag and isn't cold"),
            (Sentences{{"She", "'s", "got", "the", "woman", "'s", "bag", "and", "is", "n't", "cold"}}));
  EXPECT_EQ(penn_words("they'll I'm we've you're he'd CAN'T"),
            (Sentences{{"they", "'ll", "I", "'m", "we", "'ve", "you", "'re", "he", "'d", "CA", "N'T"}}));
  EXPECT_EQ(penn_words("the boys' shoes"), (Sentences{{"the", "boys", "'", "shoes"}}));
  EXPECT_EQ(penn_words("she\u2019s in the man\u2019s coat"),
            (Sentences{{"she", "'s", "in", "the", "man", "'s", "coat"}}));
}

TEST(PennWords, HyphensAndFiguresStayInWords) {
  EXPECT_EQ(penn_words("a black-and-white T-shirt, size 3.5"),
            (Sentences{{"a", "black-and-white", "T-shirt", ",", "size", "3.5"}}));
}

TEST(PennWords, QuotationMarksStayAsTheyAre) {
  EXPECT_EQ(penn_words("a shirt with \"NY\" or 'LA' on it"),
            (Sentences{{"a", "shirt", "with", "\"", "NY", "\"", "or", "'", "LA", "'", "on", "it"}}));
}

TEST(PennWords, SentencesEndWithTheirMarks) {
  EXPECT_EQ(penn_words("A man walks. He runs! Why? no"),
            (Sentences{{"A", "man", "walks", "."}, {"He", "runs", "!"}, {"Why", "?"}, {"no"}}));
  EXPECT_EQ(penn_words("a red shirt.He has a bag."),
            (Sentences{{"a", "red", "shirt", "."}, {"He", "has", "a", "bag", "."}}));
  EXPECT_EQ(penn_words("Mr. Smith and J. Doe in St. Paul"),
            (Sentences{{"Mr.", "Smith", "and", "J.", "Doe", "in", "St.", "Paul"}}));
  EXPECT_EQ(penn_words("(He runs.) \"He sits.\""),
            (Sentences{{"(", "He", "runs", "."}, {")", "\"", "He", "sits", "."}, {"\""}}));
}

TEST(PennWords, TakesAnyBytes) {
  EXPECT_EQ(penn_words("caf\u00e9 \xff\xfe \xe2\x80"), (Sentences{{"caf\u00e9", "\xff\xfe", "\xe2\x80"}}));
  EXPECT_EQ(penn_words("''''"), (Sentences{{"'", "'", "'", "'"}}));
  EXPECT_EQ(penn_words("n't .."), (Sentences{{"n't", ".."}}));
}

// The captions of brill_tagger_test.cpp, which another hand has cut as NLTK does.
TEST(PennWords, AreThoseOfAnotherHand) {
  std::ifstream file(MUSTER_SOURCE_DIR "/tests/golden/marked_captions.jsonl");
  int captions = 0;
  for (std::string line; std::getline(file, line); ++captions) {
    const auto caption = nlohmann::json::parse(line);
    std::vector<std::string> expected, words;
    for (const auto& word : caption.at("tags")) {
      const std::string text = word.at(0);
      expected.push_back(text == "``" || text == "''" ? "\"" : text);
    }
    for (const auto& sentence : penn_words(caption.at("caption").get<std::string>())) {
      words.insert(words.end(), sentence.begin(), sentence.end());
    }
    EXPECT_EQ(words, expected) << caption.at("caption");
  }
  EXPECT_EQ(captions, 200);
}

}  // namespace
}  // namespace muster
