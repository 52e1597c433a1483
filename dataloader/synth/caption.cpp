#include "dataloader/synth/caption.h"

#include "dataloader/synth/dice.h"
#include "dataloader/synth/phrases.h"

namespace muster::synth {
namespace {

// How the text speaks of the person.
struct Voice {
  std::string noun;  // "man"
  std::string he, his;
  bool plural = false;  // "they"
  std::string is() const { return plural ? "are" : "is"; }
  std::string has() const { return plural ? "have" : "has"; }
  std::string wears() const { return plural ? "wear" : "wears"; }
};

Voice voice_for(Words& w, const Person& person) {
  std::string figure;
  if (std::abs(person.build) > 0.6F && w.chance(0.3F)) {
    figure = person.build < 0 ? w.pick({"slim ", "thin "}) : w.pick({"heavyset ", "stocky "});
  }
  const std::string general =
      figure + w.pick({"person", "pedestrian", "person", "individual", "pedestrian", "passer-by"});
  const bool neutral = w.chance(0.3F);
  const std::string man = figure + w.pick({"man", "man", "man", "guy", "gentleman"});
  const std::string woman = figure + w.pick({"woman", "woman", "woman", "lady", "female pedestrian"});
  switch (person.kind) {
    case Kind::kMan:
      return {neutral ? general : man, "he", "his", false};
    case Kind::kWoman:
      return {neutral ? general : woman, "she", "her", false};
    case Kind::kPerson:
      break;
  }
  return {general, "they", "their", true};
}

// What this caption will tell. Sentences take from it; what is left is told at the end.
struct Facts {
  std::vector<std::string> worn;      // upper and lower garment first
  std::vector<std::string> features;  // after "has"
  std::vector<std::string> doing;     // after "is"
  std::string pose;                   // after "is", perhaps with the place

  std::vector<std::string> take_worn(size_t count) {
    count = std::min(count, worn.size());
    const auto middle = worn.begin() + static_cast<std::ptrdiff_t>(count);
    std::vector<std::string> taken(worn.begin(), middle);
    worn.erase(worn.begin(), middle);
    return taken;
  }
  std::string with_features() {
    if (features.empty()) return "";
    const std::string text = " with " + listed(features);
    features.clear();
    return text;
  }
  // "carrying a bag and talking on the phone"; "carrying a bag and a bottle".
  std::string take_doing() {
    if (doing.size() == 2) {
      const size_t verb = doing[0].find(' ') + 1;
      if (doing[1].compare(0, verb, doing[0], 0, verb) == 0) doing[1].erase(0, verb);
    }
    const std::string text = listed(doing);
    doing.clear();
    return text;
  }
};

Facts choose_facts(Words& w, Phrases& phrases, const Person& p, const Visible& seen) {
  Facts facts;
  const bool brief = w.chance(0.18F);
  const float k = brief ? 0.5F : 1.0F;
  const bool upper = w.chance(0.97F), lower = p.lower != Lower::kNone && (w.chance(0.9F) || !upper);
  if (upper || p.lower == Lower::kNone) facts.worn.push_back(phrases.upper());
  if (lower) facts.worn.push_back(phrases.lower());
  if (facts.worn.size() == 2 && w.chance(0.1F)) std::swap(facts.worn[0], facts.worn[1]);
  if (seen.shoes && w.chance(0.62F * k)) facts.worn.push_back(phrases.shoes());
  const bool hood = p.headwear == Headwear::kHood;
  if (p.headwear != Headwear::kNone && !hood && w.chance(0.85F)) facts.worn.push_back(phrases.headwear());
  if (p.scarf && w.chance(0.75F)) facts.worn.push_back(phrases.scarf());
  if (p.eyewear != Eyewear::kNone && seen.face && w.chance(0.5F * k)) facts.worn.push_back(phrases.eyewear());
  if (p.mask && seen.face && w.chance(0.75F)) facts.worn.push_back(phrases.mask());
  if (p.headphones && w.chance(0.6F)) facts.worn.push_back("headphones");

  if (phrases.hair_is_seen() && w.chance(0.62F * k)) facts.features.push_back(phrases.hair());
  if (p.beard && seen.face && w.chance(0.55F)) facts.features.push_back(phrases.beard());
  if (hood && w.chance(0.7F)) facts.features.push_back(phrases.headwear());

  const float bag_chance = p.bag == Bag::kBackpack && !seen.back ? 0.6F : 0.85F;
  if (p.bag != Bag::kNone && seen.bag && w.chance(bag_chance)) facts.doing.push_back(phrases.bag());
  if (p.carried != Carried::kNone && seen.carried && w.chance(p.carried == Carried::kUmbrella ? 0.9F : 0.7F)) {
    facts.doing.push_back(phrases.carried());
  }
  const bool with_place = w.chance(0.14F);
  if (with_place || w.chance(0.3F * k)) facts.pose = phrases.pose(with_place);
  return facts;
}

class Writer {
 public:
  Writer(Words& words, const Voice& voice, Facts& facts, const Visible& seen)
      : w_(words), v_(voice), f_(facts), seen_(seen) {}

  std::string write() {
    std::string text = capitalised(opening());
    for (const std::string& sentence : rest()) text += " " + capitalised(sentence);
    return text;
  }

 private:
  std::string opening();
  std::string plain_opening(int form);
  std::string scenic_opening(int form);
  std::vector<std::string> rest();

  std::string subject() {
    return w_.chance(0.5F) ? with_article(v_.noun) : w_.pick({"the ", "the ", "this "}) + v_.noun;
  }
  std::string clothes() { return listed(f_.take_worn(static_cast<size_t>(2 + w_.below(4)))); }
  std::string wears() { return w_.pick({" is wearing ", " wears ", " is dressed in ", " has on ", " is wearing "}); }
  // ", carrying a bag", with or without telling the pose first.
  std::string tail() {
    if (f_.doing.empty() || w_.chance(0.35F)) return "";
    return (w_.chance(0.5F) ? ", " : w_.chance(0.5F) ? " and is " : ", ") + f_.take_doing();
  }
  std::string moving() {
    if (f_.pose.empty()) return "";
    const std::string text = f_.pose;
    f_.pose.clear();
    return text;
  }

  Words& w_;
  const Voice& v_;
  Facts& f_;
  const Visible& seen_;
};

std::string Writer::plain_opening(int form) {
  const std::string a_person = with_article(v_.noun);
  switch (form) {
    case 0:
      return subject() + f_.with_features() + wears() + clothes() + tail() + ".";
    case 1:
      return subject() + wears() + clothes() + ".";
    case 2:
      return a_person + " in " + clothes() + (f_.doing.empty() ? "" : ", " + f_.take_doing()) + ".";
    case 3:
      return "there is " + a_person + f_.with_features() + " wearing " + clothes() + ".";
    case 4:
      if (f_.features.empty()) return "the " + v_.noun + " wears " + clothes() + tail() + ".";
      {
        const std::string features = listed(f_.features);
        f_.features.clear();
        return w_.pick({"the ", "this "}) + v_.noun + " has " + features + " and wears " + clothes() + ".";
      }
    case 5:
      return a_person + (f_.doing.empty() ? f_.with_features() : " who is " + f_.take_doing()) + wears() + clothes() +
             ".";
    case 6:
      return w_.pick({"a photo of ", "a picture of ", "an image of "}) + a_person + f_.with_features() + " wearing " +
             clothes() + ".";
    default: {
      // Notes rather than a sentence.
      std::vector<std::string> notes = f_.take_worn(9);
      notes.insert(notes.end(), f_.features.begin(), f_.features.end());
      notes.insert(notes.end(), f_.doing.begin(), f_.doing.end());
      f_.features.clear();
      f_.doing.clear();
      std::string text = v_.noun + (w_.chance(0.5F) ? " in " : " wearing ") + notes[0];
      for (size_t i = 1; i < notes.size(); ++i) text += ", " + notes[i];
      return text + (w_.chance(0.6F) ? "." : "");
    }
  }
}

std::string Writer::scenic_opening(int form) {
  const std::string a_person = with_article(v_.noun);
  const std::string motion = moving();
  switch (form) {
    case 0:
      return a_person + f_.with_features() + " is " + motion + ", wearing " + clothes() + ".";
    case 1:
      return "wearing " + clothes() + ", the " + v_.noun + " is " + motion + tail() + ".";
    case 2:
      return "dressed in " + clothes() + ", " + w_.pick({"this ", "the "}) + v_.noun + " is " + motion + ".";
    case 3:
      return a_person + " in " + clothes() + " is " + motion + tail() + ".";
    case 4:
      return "the " + v_.noun + " " + motion + wears() + clothes() + ".";
    default:
      return a_person + " " + motion + " in " + clothes() + tail() + ".";
  }
}

std::string Writer::opening() {
  if (seen_.back && !seen_.front && w_.chance(0.12F)) {
    return w_.pick({"seen from behind, ", "with the back to the camera, "}) + ("the " + v_.noun) + wears() + clothes() +
           ".";
  }
  if (!f_.pose.empty() && w_.chance(0.75F)) return scenic_opening(w_.below(6));
  return plain_opening(w_.below(8));
}

std::vector<std::string> Writer::rest() {
  std::vector<std::string> sentences;
  const std::string he = v_.plural && w_.chance(0.4F) ? "" : v_.he;  // sometimes the noun again
  const bool noun = he.empty();
  const std::string subject = noun ? "the " + v_.noun : he;
  const std::string is = noun ? "is" : v_.is(), has = noun ? "has" : v_.has();
  if (!f_.worn.empty()) {
    const std::string more = listed(f_.worn);
    const int form = w_.below(3);
    sentences.push_back(subject +
                        (form == 0   ? " " + is + " also wearing "
                         : form == 1 ? " also " + (noun ? "wears" : v_.wears()) + " "
                                     : " " + has + " ") +
                        more + (form == 2 ? " on" : "") + ".");
  }
  if (!f_.features.empty()) sentences.push_back(subject + " " + has + " " + listed(f_.features) + ".");
  std::vector<std::string> actions;
  if (!f_.pose.empty()) actions.push_back(moving());
  if (!f_.doing.empty()) actions.push_back(f_.take_doing());
  if (!actions.empty()) sentences.push_back(subject + " " + is + " " + listed(actions) + ".");
  if (sentences.size() > 1 && w_.chance(0.4F)) std::swap(sentences.front(), sentences.back());
  return sentences;
}

// Tells one thing wrong.
void slip(Dice& dice, Person& p) {
  const auto other = [&](Dye dye) {
    return static_cast<Dye>((static_cast<int>(dye) + 1 + dice.below(kDyes - 1)) % kDyes);
  };
  switch (dice.below(4)) {
    case 0:
      p.upper_dye.dye = other(p.upper_dye.dye);
      break;
    case 1:
      p.lower_dye.dye = other(p.lower_dye.dye);
      break;
    case 2:
      p.shoes_dye.dye = other(p.shoes_dye.dye);
      break;
    default:
      p.bag_dye.dye = other(p.bag_dye.dye);
      break;
  }
}

}  // namespace

Caption write_caption(uint64_t seed, int64_t identity, int64_t view_index, int index, const Person& person,
                      const View& view) {
  const uint64_t position = view_position(identity, view_index) * kMaxCaptions + static_cast<uint64_t>(index);
  Dice dice(seed, position, Stream::kCaption);
  Caption caption;
  Person told = person;
  if (dice.chance(kSlipRate)) {
    caption.slip = true;
    slip(dice, told);
  }
  Words words(dice, dice.chance(0.5F), dice.uniform(0.0F, 0.4F));
  const Visible seen = visible_parts(person, view);
  const Voice voice = voice_for(words, told);
  Phrases phrases(words, told, view, seen, voice.his);
  Facts facts = choose_facts(words, phrases, told, seen);
  caption.text = Writer(words, voice, facts, seen).write();
  return caption;
}

}  // namespace muster::synth
