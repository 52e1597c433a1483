#include "dataloader/text/brill_tagger.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>

#include "dataloader/text/ascii.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr int64_t kMostBytes = int64_t{16} << 20;
constexpr size_t kMostTags = 1000;
constexpr size_t kMostRules = 10000;

// visit(line number, words) for each line that is neither empty nor a comment.
template <typename Visit>
void for_each_line(const std::string& path, const Visit& visit) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file)
    throw DataError(path + ": cannot be read; launch/setup.sh fetches it, or name its folder with data.text.tagger");
  if (file.tellg() > kMostBytes) throw DataError(path + ": too large for a tagger's file");
  file.seekg(0);
  int64_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.rfind(";;;", 0) == 0) continue;
    std::istringstream stream(line);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    if (!words.empty()) visit(number, words);
  }
}

[[noreturn]] void no_rule(const std::string& path, int64_t line, const char* what) {
  throw DataError(path + ":" + std::to_string(line) + ": no " + what);
}

bool is_number(const std::string& word) {
  return std::any_of(word.begin(), word.end(), is_ascii_digit) && std::all_of(word.begin(), word.end(), [](char c) {
           return is_ascii_digit(c) || std::string_view("-,.:/%$").find(c) != std::string_view::npos;
         });
}

bool starts_with(const std::string& word, const std::string& text) {
  return word.compare(0, text.size(), text) == 0;
}
bool ends_with(const std::string& word, const std::string& text) {
  return word.size() >= text.size() && word.compare(word.size() - text.size(), text.size(), text) == 0;
}

// Where the two arguments of a contextual rule stand: as a tag or a word, at [first, last] around the word.
struct Place {
  int first, last;
  bool is_tag;
};

const std::map<std::string, std::vector<Place>>& places() {
  static const std::map<std::string, std::vector<Place>> all = {
      {"PREVTAG", {{-1, -1, true}}},
      {"NEXTTAG", {{1, 1, true}}},
      {"PREV2TAG", {{-2, -2, true}}},
      {"NEXT2TAG", {{2, 2, true}}},
      {"PREV1OR2TAG", {{-2, -1, true}}},
      {"NEXT1OR2TAG", {{1, 2, true}}},
      {"PREV1OR2OR3TAG", {{-3, -1, true}}},
      {"NEXT1OR2OR3TAG", {{1, 3, true}}},
      {"SURROUNDTAG", {{-1, -1, true}, {1, 1, true}}},
      {"CURWD", {{0, 0, false}}},
      {"PREVWD", {{-1, -1, false}}},
      {"NEXTWD", {{1, 1, false}}},
      {"PREV2WD", {{-2, -2, false}}},
      {"NEXT2WD", {{2, 2, false}}},
      {"PREV1OR2WD", {{-2, -1, false}}},
      {"NEXT1OR2WD", {{1, 2, false}}},
      {"WDPREVTAG", {{-1, -1, true}, {0, 0, false}}},
      {"WDNEXTTAG", {{0, 0, false}, {1, 1, true}}},
      {"WDAND2BFR", {{-2, -2, false}, {0, 0, false}}},
      {"WDAND2AFT", {{0, 0, false}, {2, 2, false}}},
      {"WDAND2TAGBFR", {{-2, -2, true}, {0, 0, false}}},
      {"WDAND2TAGAFT", {{0, 0, false}, {2, 2, true}}},
      {"LBIGRAM", {{-1, -1, false}, {0, 0, false}}},
      {"RBIGRAM", {{0, 0, false}, {1, 1, false}}},
      {"PREVBIGRAM", {{-2, -2, true}, {-1, -1, true}}},
      {"NEXTBIGRAM", {{1, 1, true}, {2, 2, true}}},
  };
  return all;
}

}  // namespace

bool is_noun_or_adjective(std::string_view tag) {
  return tag.substr(0, 2) == "NN" || tag.substr(0, 2) == "JJ";
}

BrillTagger::BrillTagger(const std::string& folder) {
  read_lexicon(folder + "/en-lexicon.txt");
  read_lexical_rules(folder + "/en-morphology.txt");
  read_context_rules(folder + "/en-context.txt");
}

BrillTagger::Tag BrillTagger::tag_of(const std::string& name) {
  const auto [entry, is_new] = tag_numbers_.emplace(name, static_cast<Tag>(tags_.size()));
  if (is_new) tags_.push_back(name);
  if (tags_.size() > kMostTags) throw DataError("a tagger of more than " + std::to_string(kMostTags) + " tags");
  return entry->second;
}

// The rules' name for what is beyond the ends of a sentence is no tag of a word.
int BrillTagger::tag_or_outside(const std::string& name) {
  return name == "STAART" ? kOutside : static_cast<int>(tag_of(name));
}

void BrillTagger::read_lexicon(const std::string& path) {
  for_each_line(path, [&](int64_t line, const std::vector<std::string>& words) {
    if (words.size() < 2) no_rule(path, line, "word and tag");
    lexicon_.emplace(words[0], tag_of(words[1]));
  });
  if (lexicon_.empty()) throw DataError(path + ": holds no word");
}

bool BrillTagger::parse_test(const std::string& name, LexicalRule::Test& test) {
  using Test = LexicalRule::Test;
  static const std::map<std::string, Test> tests = {
      {"char", Test::kCharacter},         {"haspref", Test::kPrefix},   {"hassuf", Test::kSuffix},
      {"addpref", Test::kAddPrefix},      {"addsuf", Test::kAddSuffix}, {"deletepref", Test::kDeletePrefix},
      {"deletesuf", Test::kDeleteSuffix}, {"goodleft", Test::kBefore},  {"goodright", Test::kAfter}};
  const auto found = tests.find(name);
  if (found == tests.end()) return false;
  test = found->second;
  return true;
}

// "ly hassuf 2 RB x", or "NN s fhassuf 1 NNS x" of nouns alone; the number is the text's length, and some tests have
// none.
void BrillTagger::read_lexical_rules(const std::string& path) {
  for_each_line(path, [&](int64_t line, const std::vector<std::string>& words) {
    LexicalRule rule{};
    const auto parse = [&](size_t test, bool only_from) {
      if (words.size() < test + 3) return false;
      const std::string name = only_from ? words[test].substr(std::min<size_t>(1, words[test].size())) : words[test];
      if (only_from && words[test].front() != 'f') return false;
      if (!parse_test(name, rule.test)) return false;
      rule.only_from = only_from;
      rule.from = only_from ? tag_of(words[0]) : Tag{0};
      rule.text = words[test - 1];
      rule.to = tag_of(words[words.size() - 2]);
      return true;
    };
    if (!parse(1, false) && !parse(2, true)) no_rule(path, line, "lexical rule that is known");
    lexical_.push_back(rule);
    if (lexical_.size() > kMostRules) throw DataError(path + ": too many rules");
  });
  if (lexical_.empty()) throw DataError(path + ": holds no rule");
}

// "NN VB PREVTAG TO": from, to, where, and a tag or word for each place.
void BrillTagger::read_context_rules(const std::string& path) {
  for_each_line(path, [&](int64_t line, const std::vector<std::string>& words) {
    const auto found = words.size() < 4 ? places().end() : places().find(words[2]);
    if (found == places().end() || words.size() < 3 + found->second.size()) {
      no_rule(path, line, "contextual rule that is known");
    }
    ContextRule rule{words[0] == "*" ? kAny : static_cast<int>(tag_of(words[0])), tag_of(words[1]), {}};
    for (size_t i = 0; i < found->second.size(); ++i) {
      const Place& place = found->second[i];
      const std::string& argument = words[3 + i];
      rule.conditions.push_back(
          {place.first, place.last, place.is_tag ? tag_or_outside(argument) : kWord, place.is_tag ? "" : argument});
    }
    contextual_.push_back(std::move(rule));
    if (contextual_.size() > kMostRules) throw DataError(path + ": too many rules");
  });
  if (contextual_.empty()) throw DataError(path + ": holds no rule");
}

bool BrillTagger::holds(const LexicalRule& rule, const std::vector<std::string>& words, size_t i) const {
  using Test = LexicalRule::Test;
  const std::string& word = words[i];
  const auto known = [&](const std::string& other) { return lexicon_.count(other) > 0; };
  switch (rule.test) {
    case Test::kCharacter:
      return word.find(rule.text) != std::string::npos;
    case Test::kPrefix:
      return starts_with(word, rule.text);
    case Test::kSuffix:
      return ends_with(word, rule.text);
    case Test::kAddPrefix:
      return known(rule.text + word);
    case Test::kAddSuffix:
      return known(word + rule.text);
    case Test::kDeletePrefix:
      return starts_with(word, rule.text) && known(word.substr(rule.text.size()));
    case Test::kDeleteSuffix:
      return ends_with(word, rule.text) && known(word.substr(0, word.size() - rule.text.size()));
    case Test::kBefore:
      return i + 1 < words.size() && words[i + 1] == rule.text;
    case Test::kAfter:
      return i > 0 && words[i - 1] == rule.text;
  }
  return false;
}

bool BrillTagger::holds(const ContextRule& rule, const std::vector<std::string>& words, const std::vector<Tag>& tags,
                        size_t i) {
  const auto count = static_cast<int>(words.size());
  return std::all_of(rule.conditions.begin(), rule.conditions.end(), [&](const ContextRule::Condition& condition) {
    for (int place = condition.first; place <= condition.last; ++place) {
      const int at = static_cast<int>(i) + place;
      const auto j = static_cast<size_t>(at);
      if (at < 0 || at >= count) {
        if (condition.tag == kOutside) return true;
      } else if (condition.tag >= 0 ? tags[j] == condition.tag : words[j] == condition.word) {
        return true;
      }
    }
    return false;
  });
}

BrillTagger::Tag BrillTagger::unknown(const std::vector<std::string>& words, size_t i) const {
  const auto number = [&](const char* name) {
    const auto found = tag_numbers_.find(name);
    if (found == tag_numbers_.end()) throw DataError(std::string("the tagger's files have no tag ") + name);
    return found->second;
  };
  if (is_number(words[i])) return number("CD");
  Tag tag = std::isupper(static_cast<unsigned char>(words[i].front())) != 0 ? number("NNP") : number("NN");
  for (const LexicalRule& rule : lexical_) {
    if ((!rule.only_from || rule.from == tag) && holds(rule, words, i)) tag = rule.to;
  }
  return tag;
}

std::vector<std::string_view> BrillTagger::tag(const std::vector<std::string>& words) const {
  std::vector<Tag> tags;
  for (size_t i = 0; i < words.size(); ++i) {
    auto known = lexicon_.find(words[i]);
    if (known == lexicon_.end() && i == 0) known = lexicon_.find(ascii_lower(words[i]));
    tags.push_back(known != lexicon_.end() ? known->second : unknown(words, i));
  }
  for (const ContextRule& rule : contextual_) {
    for (size_t i = 0; i < words.size(); ++i) {
      if ((rule.from == kAny || tags[i] == rule.from) && holds(rule, words, tags, i)) tags[i] = rule.to;
    }
  }
  std::vector<std::string_view> names;
  for (const Tag number : tags) names.push_back(tags_[number]);
  return names;
}

}  // namespace muster
