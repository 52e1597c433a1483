#include "dataloader/synth/words.h"

#include <cctype>

namespace muster::synth {

std::string Words::pick(std::initializer_list<const char*> words) {
  return words.begin()[dice_.below(static_cast<int>(words.size()))];
}

std::string Words::colour(Dye dye, bool optional) {
  if (dice_.chance(vagueness_)) {
    if (optional && dice_.chance(0.35F)) return "";
    const std::string word = vague(dye);
    if (!word.empty()) return word;
  }
  return exact(dye);
}

std::string Words::exact(Dye dye) {
  switch (dye) {
    case Dye::kBlack:
      return "black";
    case Dye::kWhite:
      return "white";
    case Dye::kGrey:
      return british_ ? "grey" : "gray";
    case Dye::kDarkGrey:
      return british_ ? pick({"dark grey", "charcoal"}) : pick({"dark gray", "charcoal"});
    case Dye::kRed:
      return pick({"red", "red", "bright red"});
    case Dye::kBurgundy:
      return pick({"burgundy", "maroon", "dark red", "wine-red"});
    case Dye::kPink:
      return pick({"pink", "pink", "light pink"});
    case Dye::kOrange:
      return "orange";
    case Dye::kYellow:
      return pick({"yellow", "yellow", "bright yellow"});
    case Dye::kGreen:
      return "green";
    case Dye::kDarkGreen:
      return pick({"dark green", "dark green", "forest green"});
    case Dye::kOlive:
      return pick({"olive", "olive green", "army green"});
    case Dye::kLightBlue:
      return pick({"light blue", "pale blue", "sky blue", "baby blue"});
    case Dye::kBlue:
      return pick({"blue", "blue", "royal blue"});
    case Dye::kNavy:
      return pick({"navy", "navy blue", "dark blue"});
    case Dye::kTeal:
      return pick({"teal", "turquoise"});
    case Dye::kPurple:
      return pick({"purple", "purple", "violet"});
    case Dye::kBrown:
      return "brown";
    case Dye::kBeige:
      return pick({"beige", "tan", british_ ? "sand-coloured" : "sand-colored", "cream"});
  }
  return "";
}

std::string Words::vague(Dye dye) {
  const bool dark = is_dark(dye), light = is_light(dye);
  const char* pale = british_ ? "light-coloured" : "light-colored";
  if (dark && dice_.chance(0.6F)) return dice_.chance(0.75F) ? "dark" : british_ ? "dark-coloured" : "dark-colored";
  if (light && dice_.chance(0.45F)) return pale;
  switch (dye) {
    case Dye::kDarkGrey:
      return british_ ? "grey" : "gray";
    case Dye::kBurgundy:
      return pick({"red", "reddish"});
    case Dye::kDarkGreen:
      return pick({"green", "greenish"});
    case Dye::kOlive:
      return pick({"green", "greenish"});
    case Dye::kLightBlue:
    case Dye::kNavy:
      return pick({"blue", "blue", "bluish"});
    case Dye::kTeal:
      return pick({"blue-green", "greenish blue"});
    case Dye::kPurple:
      return "purplish";
    case Dye::kBrown:
      return "brownish";
    case Dye::kPink:
      return "pinkish";
    case Dye::kRed:
    case Dye::kOrange:
    case Dye::kYellow:
      return pick({"bright", british_ ? "brightly coloured" : "brightly colored"});
    case Dye::kBlack:
    case Dye::kWhite:
    case Dye::kGrey:
    case Dye::kGreen:
    case Dye::kBlue:
    case Dye::kBeige:
      return "";
  }
  return "";
}

std::string Words::colour(HairColour colour) {
  const bool dark = colour == HairColour::kBlack || colour == HairColour::kBrown;
  if (dice_.chance(vagueness_)) {
    if (dark && dice_.chance(0.6F)) return "dark";
    if (colour == HairColour::kBlonde && dice_.chance(0.4F)) return "light";
  }
  switch (colour) {
    case HairColour::kBlack:
      return pick({"black", "black", "jet-black"});
    case HairColour::kBrown:
      return pick({"brown", "brown", "dark brown"});
    case HairColour::kBlonde:
      return pick({"blonde", "blond", "fair"});
    case HairColour::kRed:
      return pick({"red", "ginger", "auburn"});
    case HairColour::kGrey:
      return british_ ? "grey" : "gray";
    case HairColour::kWhite:
      return "white";
  }
  return "";
}

std::string spaced(std::initializer_list<std::string> words) {
  std::string text;
  for (const std::string& word : words) {
    if (word.empty()) continue;
    if (!text.empty()) text += ' ';
    text += word;
  }
  return text;
}

std::string dyed(const std::string& colour, const std::string& noun) {
  const size_t end = noun.find(' ');
  const std::string first = noun.substr(0, end);
  for (const char* adjective : {"long", "short", "tight", "knee-length", "ankle-length", "wide-brimmed"}) {
    if (end != std::string::npos && first == adjective) return spaced({first, colour, noun.substr(end + 1)});
  }
  return spaced({colour, noun});
}

std::string with_article(const std::string& phrase) {
  const bool vowel = !phrase.empty() && std::string("aeiou").find(phrase[0]) != std::string::npos;
  return (vowel ? "an " : "a ") + phrase;
}

std::string listed(const std::vector<std::string>& phrases) {
  std::string text;
  for (size_t i = 0; i < phrases.size(); ++i) {
    if (i > 0) text += i + 1 == phrases.size() ? " and " : ", ";
    text += phrases[i];
  }
  return text;
}

std::string capitalised(std::string sentence) {
  if (!sentence.empty()) sentence[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(sentence[0])));
  return sentence;
}

}  // namespace muster::synth
