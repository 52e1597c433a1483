// Captions against a dictionary of the test's own: what they say of a person must be true.
#include "dataloader/synth/caption.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>
#include <sstream>

namespace muster::synth {
namespace {

constexpr uint64_t kSeed = 11;

using Dyes = std::set<Dye>;
const Dyes kDark = {Dye::kBlack, Dye::kDarkGrey, Dye::kNavy, Dye::kBurgundy, Dye::kDarkGreen, Dye::kBrown};
const Dyes kLight = {Dye::kWhite, Dye::kBeige, Dye::kLightBlue, Dye::kPink};
const Dyes kBright = {Dye::kRed, Dye::kOrange, Dye::kYellow};
const Dyes kBlues = {Dye::kBlue, Dye::kNavy, Dye::kLightBlue};

// Which dyes a colour word may stand for.
const std::map<std::string, Dyes>& colour_words() {
  static const std::map<std::string, Dyes> words = {{"black", {Dye::kBlack}},
                                                    {"white", {Dye::kWhite}},
                                                    {"grey", {Dye::kGrey, Dye::kDarkGrey}},
                                                    {"gray", {Dye::kGrey, Dye::kDarkGrey}},
                                                    {"dark grey", {Dye::kDarkGrey}},
                                                    {"dark gray", {Dye::kDarkGrey}},
                                                    {"charcoal", {Dye::kDarkGrey}},
                                                    {"red", {Dye::kRed, Dye::kBurgundy}},
                                                    {"bright red", {Dye::kRed}},
                                                    {"reddish", {Dye::kBurgundy}},
                                                    {"burgundy", {Dye::kBurgundy}},
                                                    {"maroon", {Dye::kBurgundy}},
                                                    {"dark red", {Dye::kBurgundy}},
                                                    {"wine-red", {Dye::kBurgundy}},
                                                    {"pink", {Dye::kPink}},
                                                    {"light pink", {Dye::kPink}},
                                                    {"pinkish", {Dye::kPink}},
                                                    {"orange", {Dye::kOrange}},
                                                    {"yellow", {Dye::kYellow}},
                                                    {"bright yellow", {Dye::kYellow}},
                                                    {"green", {Dye::kGreen, Dye::kDarkGreen, Dye::kOlive}},
                                                    {"greenish", {Dye::kDarkGreen, Dye::kOlive}},
                                                    {"dark green", {Dye::kDarkGreen}},
                                                    {"forest green", {Dye::kDarkGreen}},
                                                    {"olive", {Dye::kOlive}},
                                                    {"olive green", {Dye::kOlive}},
                                                    {"army green", {Dye::kOlive}},
                                                    {"light blue", {Dye::kLightBlue}},
                                                    {"pale blue", {Dye::kLightBlue}},
                                                    {"sky blue", {Dye::kLightBlue}},
                                                    {"baby blue", {Dye::kLightBlue}},
                                                    {"blue", kBlues},
                                                    {"bluish", kBlues},
                                                    {"royal blue", {Dye::kBlue}},
                                                    {"navy", {Dye::kNavy}},
                                                    {"navy blue", {Dye::kNavy}},
                                                    {"dark blue", {Dye::kNavy}},
                                                    {"teal", {Dye::kTeal}},
                                                    {"turquoise", {Dye::kTeal}},
                                                    {"blue-green", {Dye::kTeal}},
                                                    {"greenish blue", {Dye::kTeal}},
                                                    {"purple", {Dye::kPurple}},
                                                    {"violet", {Dye::kPurple}},
                                                    {"purplish", {Dye::kPurple}},
                                                    {"brown", {Dye::kBrown}},
                                                    {"brownish", {Dye::kBrown}},
                                                    {"beige", {Dye::kBeige}},
                                                    {"tan", {Dye::kBeige}},
                                                    {"cream", {Dye::kBeige}},
                                                    {"sand-coloured", {Dye::kBeige}},
                                                    {"sand-colored", {Dye::kBeige}},
                                                    {"dark", kDark},
                                                    {"dark-coloured", kDark},
                                                    {"dark-colored", kDark},
                                                    {"light-coloured", kLight},
                                                    {"light-colored", kLight},
                                                    {"bright", kBright},
                                                    {"brightly coloured", kBright},
                                                    {"brightly colored", kBright}};
  return words;
}

struct Noun {
  std::function<bool(const Person&)> true_of;
  std::function<Dyes(const Person&)> dyes;  // that may stand before it
};

Dyes uppers(const Person& p) {
  return {p.upper_dye.dye, p.second_dye.dye};
}

// Nouns that only one thing of a person can be called by.
const std::map<std::string, Noun>& nouns() {
  const auto upper = [](Upper kind) { return [kind](const Person& p) { return p.upper == kind; }; };
  const auto lower = [](Lower kind) { return [kind](const Person& p) { return p.lower == kind; }; };
  const auto bag = [](Bag kind) { return [kind](const Person& p) { return p.bag == kind; }; };
  const auto lowers = [](const Person& p) { return Dyes{p.lower_dye.dye}; };
  const auto bags = [](const Person& p) { return Dyes{p.bag_dye.dye}; };
  const auto hats = [](const Person& p) { return Dyes{p.headwear_dye.dye}; };
  const auto shoes = [](const Person& p) { return Dyes{p.shoes_dye.dye}; };
  const auto carried = [](const Person& p) { return Dyes{p.carried_dye.dye}; };
  const auto legs = [](const Person& p) {
    return p.lower != Lower::kSkirt && p.lower != Lower::kLongSkirt && p.lower != Lower::kNone;
  };
  const auto skirt = [](const Person& p) { return p.lower == Lower::kSkirt || p.lower == Lower::kLongSkirt; };
  const auto hold = [](Carried kind) { return [kind](const Person& p) { return p.carried == kind; }; };
  static const std::map<std::string, Noun> table = {
      {"jacket", {upper(Upper::kJacket), uppers}},
      {"coat", {upper(Upper::kCoat), uppers}},
      {"overcoat", {upper(Upper::kCoat), uppers}},
      {"hoodie", {upper(Upper::kHoodie), uppers}},
      {"sweatshirt", {upper(Upper::kHoodie), uppers}},
      {"sweater", {upper(Upper::kSweater), uppers}},
      {"jumper", {upper(Upper::kSweater), uppers}},
      {"pullover", {upper(Upper::kSweater), uppers}},
      {"gilet", {upper(Upper::kVest), uppers}},
      {"vest", {upper(Upper::kVest), uppers}},
      {"warmer", {upper(Upper::kVest), nullptr}},
      {"dress", {[](const Person& p) { return p.upper == Upper::kDress || p.shoes == Shoes::kLeatherShoes; }, nullptr}},
      {"jeans", {lower(Lower::kJeans), lowers}},
      {"shorts", {lower(Lower::kShorts), lowers}},
      {"leggings", {lower(Lower::kLeggings), lowers}},
      {"trousers", {legs, lowers}},
      {"pants", {legs, lowers}},
      {"slacks", {lower(Lower::kTrousers), lowers}},
      {"skirt", {skirt, lowers}},
      {"boots", {[](const Person& p) { return p.shoes == Shoes::kBoots; }, shoes}},
      {"sandals", {[](const Person& p) { return p.shoes == Shoes::kSandals; }, shoes}},
      {"sneakers", {[](const Person& p) { return p.shoes == Shoes::kSneakers; }, shoes}},
      {"trainers", {[](const Person& p) { return p.shoes == Shoes::kSneakers; }, shoes}},
      {"shoes",
       {[](const Person& p) { return p.shoes == Shoes::kSneakers || p.shoes == Shoes::kLeatherShoes; }, shoes}},
      {"backpack", {bag(Bag::kBackpack), bags}},
      {"rucksack", {bag(Bag::kBackpack), bags}},
      {"handbag", {bag(Bag::kHandbag), bags}},
      {"purse", {bag(Bag::kHandbag), bags}},
      {"suitcase", {bag(Bag::kSuitcase), bags}},
      {"case", {bag(Bag::kSuitcase), bags}},
      {"bag", {[](const Person& p) { return p.bag == Bag::kShoulderBag || p.bag == Bag::kShoppingBag; }, bags}},
      {"cap", {[](const Person& p) { return p.headwear == Headwear::kCap || p.headwear == Headwear::kBeanie; }, hats}},
      {"beanie", {[](const Person& p) { return p.headwear == Headwear::kBeanie; }, hats}},
      {"hat",
       {[](const Person& p) { return p.headwear == Headwear::kBeanie || p.headwear == Headwear::kBrimmedHat; }, hats}},
      {"hood", {[](const Person& p) { return p.headwear == Headwear::kHood; }, nullptr}},
      {"scarf", {[](const Person& p) { return p.scarf; }, [](const Person& p) { return Dyes{p.scarf_dye.dye}; }}},
      {"glasses", {[](const Person& p) { return p.eyewear != Eyewear::kNone; }, nullptr}},
      {"spectacles", {[](const Person& p) { return p.eyewear == Eyewear::kGlasses; }, nullptr}},
      {"sunglasses", {[](const Person& p) { return p.eyewear == Eyewear::kSunglasses; }, nullptr}},
      {"beard", {[](const Person& p) { return p.beard; }, nullptr}},
      {"mask", {[](const Person& p) { return p.mask; }, nullptr}},
      {"headphones", {[](const Person& p) { return p.headphones; }, nullptr}},
      {"umbrella", {hold(Carried::kUmbrella), carried}},
      {"book", {hold(Carried::kBook), carried}},
      {"bottle", {hold(Carried::kBottle), carried}},
      {"cup", {hold(Carried::kCup), carried}},
      {"phone", {hold(Carried::kPhone), nullptr}},
      {"ponytail", {[](const Person& p) { return p.hair == HairStyle::kPonytail; }, nullptr}},
      {"bun", {[](const Person& p) { return p.hair == HairStyle::kBun; }, nullptr}},
      {"curly", {[](const Person& p) { return p.hair == HairStyle::kCurly; }, nullptr}},
      {"bald", {[](const Person& p) { return p.hair == HairStyle::kBald; }, nullptr}},
      {"striped", {[](const Person& p) { return p.pattern == Pattern::kStriped; }, uppers}},
      {"plaid", {[](const Person& p) { return p.pattern == Pattern::kChecked; }, uppers}},
      {"checked", {[](const Person& p) { return p.pattern == Pattern::kChecked; }, uppers}},
      {"polka-dot", {[](const Person& p) { return p.pattern == Pattern::kDotted; }, uppers}},
      {"man", {[](const Person& p) { return p.kind == Kind::kMan; }, nullptr}},
      {"woman", {[](const Person& p) { return p.kind == Kind::kWoman; }, nullptr}},
      {"heavyset", {[](const Person& p) { return p.build > 0.5F; }, nullptr}},
      {"slim", {[](const Person& p) { return p.build < -0.5F; }, nullptr}}};
  return table;
}

std::vector<std::string> words_of(const std::string& text) {
  std::string plain;
  for (const char c : text)
    plain += c == ',' || c == '.' ? std::string(" ") + c + " "
                                  : std::string(1, static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  std::istringstream in(plain);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// The colour named right before words[at], with adjectives of shape in between passed over; empty if none.
std::string colour_before(const std::vector<std::string>& words, size_t at) {
  static const std::set<std::string> passed = {
      "short",    "long",      "tight",     "padded",   "puffer",  "hooded",       "knee-length", "ankle-length",
      "denim",    "running",   "leather",   "dress",    "sports",  "ankle",        "open",        "baseball",
      "knitted",  "knit",      "woolly",    "sun",      "brimmed", "wide-brimmed", "rolling",     "trolley",
      "shoulder", "crossbody", "messenger", "shopping", "carrier", "paper",        "coffee",      "water"};
  while (at > 0 && passed.count(words[at - 1]) > 0) --at;
  if (at == 0) return "";
  if (at > 1 && colour_words().count(words[at - 2] + " " + words[at - 1]) > 0)
    return words[at - 2] + " " + words[at - 1];
  return colour_words().count(words[at - 1]) > 0 ? words[at - 1] : "";
}

bool meet(const Dyes& a, const Dyes& b) {
  for (const Dye dye : a) {
    if (b.count(dye) > 0) return true;
  }
  return false;
}

// What the caption says wrongly of the person, or nothing. Counts what it checked.
std::string falsehood(const std::string& text, const Person& person, int& nouns_seen, int& colours_seen) {
  const std::vector<std::string> words = words_of(text);
  for (size_t i = 0; i < words.size(); ++i) {
    const auto noun = nouns().find(words[i]);
    if (noun == nouns().end()) continue;
    ++nouns_seen;
    if (!noun->second.true_of(person)) return words[i];
    const std::string colour = colour_before(words, i);
    if (colour.empty() || !noun->second.dyes) continue;
    ++colours_seen;
    if (!meet(colour_words().at(colour), noun->second.dyes(person))) return colour + " " + words[i];
  }
  return "";
}

struct Sample {
  Person person;
  View view;
  Caption caption;
};

std::vector<Sample> samples(int identities, int views) {
  std::vector<Sample> all;
  for (int i = 0; i < identities; ++i) {
    const Person person = make_person(kSeed, i);
    for (int v = 0; v < views; ++v) {
      const View view = make_view(kSeed, i, v, person);
      for (int k = 0; k < 2; ++k) all.push_back({person, view, write_caption(kSeed, i, v, k, person, view)});
    }
  }
  return all;
}

TEST(SynthCaption, SaysOnlyWhatIsTrue) {
  int nouns_seen = 0, colours_seen = 0;
  for (const Sample& s : samples(1500, 2)) {
    if (s.caption.slip) continue;
    EXPECT_EQ(falsehood(s.caption.text, s.person, nouns_seen, colours_seen), "") << s.caption.text;
  }
  EXPECT_GT(nouns_seen, 15000);  // the dictionary does meet the captions
  EXPECT_GT(colours_seen, 8000);
}

TEST(SynthCaption, SlipsAreRare) {
  const std::vector<Sample> all = samples(3000, 2);
  int slips = 0, seen = 0, ignored = 0;
  for (const Sample& s : all) {
    slips += s.caption.slip ? 1 : 0;
    if (s.caption.slip && !falsehood(s.caption.text, s.person, ignored, ignored).empty()) ++seen;
  }
  const double rate = static_cast<double>(slips) / static_cast<double>(all.size());
  EXPECT_NEAR(rate, 0.02, 0.006);
  EXPECT_GT(seen, slips / 10);  // and the test above would notice them
}

TEST(SynthCaption, DoesNotTellWhatCannotBeSeen) {
  for (const Sample& s : samples(1500, 4)) {
    const Visible seen = visible_parts(s.person, s.view);
    for (const std::string& word : words_of(s.caption.text)) {
      if (!seen.face) {
        EXPECT_TRUE(word != "glasses" && word != "beard" && word != "mask" && word != "spectacles") << s.caption.text;
      }
      if (!seen.front) {
        EXPECT_TRUE(word != "logo" && word != "print") << s.caption.text;
      }
      if (!seen.shoes) {
        EXPECT_TRUE(word != "shoes" && word != "boots" && word != "sneakers") << s.caption.text;
      }
    }
  }
}

TEST(SynthCaption, IsTidyEnglish) {
  for (const Sample& s : samples(1500, 2)) {
    const std::string& text = s.caption.text;
    ASSERT_GE(text.size(), 10U);
    EXPECT_LE(text.size(), 600U) << text;
    EXPECT_TRUE(text[0] >= 'A' && text[0] <= 'Z') << text;
    for (const char c : text) EXPECT_TRUE(c >= ' ' && c <= '~') << text;
    for (const char* bad : {"  ", " ,", " .", "..", ",.", " a a ", " and and ", "with with", " a pair of a ",
                            "walking along along", ", and,"}) {
      EXPECT_EQ(text.find(bad), std::string::npos) << bad << " in: " << text;
    }
    const std::vector<std::string> words = words_of(text);
    for (size_t i = 0; i + 1 < words.size(); ++i) {
      const bool vowel = std::string("aeiou").find(words[i + 1][0]) != std::string::npos;
      const bool article = words[i] == "a" || words[i] == "an";
      if (article) {
        EXPECT_EQ(words[i] == "an", vowel) << text;
      }
    }
  }
}

TEST(SynthCaption, IsVaried) {
  const std::vector<Sample> all = samples(500, 2);
  std::set<std::string> texts, openings;
  for (const Sample& s : all) {
    texts.insert(s.caption.text);
    openings.insert(s.caption.text.substr(0, 12));
  }
  EXPECT_GT(texts.size(), all.size() * 99 / 100);
  EXPECT_GT(openings.size(), 100U);
}

}  // namespace
}  // namespace muster::synth
