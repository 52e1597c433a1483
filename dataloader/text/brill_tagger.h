// Parts of speech by rules: Brill, "A simple rule-based part of speech tagger", ANLP 1992, with the lexicon and the
// lexical and contextual rules that he learned from the Penn Treebank and the Brown corpus.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace muster {

// Of the Penn Treebank's tags: NN* or JJ*.
bool is_noun_or_adjective(std::string_view tag);

// Immutable: any number of threads.
class BrillTagger {
 public:
  // Reads FOLDER/en-lexicon.txt ("word TAG" a line), en-morphology.txt and en-context.txt (a rule a line). DataError: a
  // file is missing, too large, without a word or rule, or has a line that is none (which).
  explicit BrillTagger(const std::string& folder);

  // The Penn Treebank's tag of each word of one sentence, cut as penn_words() does. A known word starts with its most
  // frequent tag, the first word of a sentence also as written in lower case; an unknown one as a number, a name
  // (capital), or a noun, which lexical rules correct by its letters and neighbours. Then each contextual rule in turn
  // goes over the sentence from left to right.
  std::vector<std::string_view> tag(const std::vector<std::string>& words) const;

 private:
  using Tag = uint16_t;  // place in tags_

  struct LexicalRule {
    enum class Test {
      kCharacter,
      kPrefix,
      kSuffix,
      kAddPrefix,
      kAddSuffix,
      kDeletePrefix,
      kDeleteSuffix,
      kBefore,
      kAfter
    };
    Test test;
    bool only_from;  // applies to words tagged `from` alone
    Tag from, to;
    std::string text;
  };
  static constexpr int kWord = -1;     // a condition of a word, not of a tag
  static constexpr int kOutside = -2;  // of a place beyond the ends of the sentence
  static constexpr int kAny = -3;      // a rule from any tag

  struct ContextRule {
    int from;
    Tag to;
    // Each holds at one place at least of [first, last] around the word (0: itself).
    struct Condition {
      int first, last;
      int tag;           // or kWord, kOutside
      std::string word;  // of kWord
    };
    std::vector<Condition> conditions;
  };

  void read_lexicon(const std::string& path);
  void read_lexical_rules(const std::string& path);
  void read_context_rules(const std::string& path);
  static bool parse_test(const std::string& name, LexicalRule::Test& test);
  bool holds(const LexicalRule& rule, const std::vector<std::string>& words, size_t i) const;
  static bool holds(const ContextRule& rule, const std::vector<std::string>& words, const std::vector<Tag>& tags,
                    size_t i);
  Tag tag_of(const std::string& name);
  int tag_or_outside(const std::string& name);
  Tag unknown(const std::vector<std::string>& words, size_t i) const;

  std::vector<std::string> tags_;
  std::unordered_map<std::string, Tag> tag_numbers_;
  std::unordered_map<std::string, Tag> lexicon_;
  std::vector<LexicalRule> lexical_;
  std::vector<ContextRule> contextual_;
};

}  // namespace muster
