#include "dataloader/synth/phrases.h"

namespace muster::synth {

std::string Phrases::upper_noun() {
  switch (p_.upper) {
    case Upper::kTShirt:
      if (p_.long_sleeves) return w_.pick({"long-sleeved t-shirt", "long-sleeved top", "top"});
      return w_.pick(
          {"t-shirt", "t-shirt", "T-shirt", "tee", "short-sleeved t-shirt", "short-sleeved top", "short-sleeve shirt"});
    case Upper::kShirt:
      return p_.long_sleeves ? w_.pick({"shirt", "shirt", "long-sleeved shirt", "button-up shirt", "collared shirt"})
                             : w_.pick({"shirt", "shirt", "short-sleeved shirt", "button-up shirt", "collared shirt"});
    case Upper::kJacket:
      return w_.pick({"jacket", "jacket", "jacket", "short jacket"});
    case Upper::kCoat:
      return w_.pick({"coat", "coat", "long coat", "overcoat", "knee-length coat"});
    case Upper::kHoodie:
      return w_.pick({"hoodie", "hoodie", "hooded sweatshirt", "hooded top"});
    case Upper::kSweater:
      return w_.british() ? w_.pick({"jumper", "sweater", "pullover"}) : w_.pick({"sweater", "sweater", "pullover"});
    case Upper::kVest:
      return w_.british() ? w_.pick({"gilet", "body warmer", "padded vest"})
                          : w_.pick({"vest", "padded vest", "puffer vest"});
    case Upper::kTankTop:
      return w_.pick({"tank top", "tank top", "sleeveless top", "sleeveless shirt"});
    case Upper::kDress:
      return w_.pick({"dress", "dress", "knee-length dress"});
  }
  return "top";
}

std::string Phrases::upper_colours() {
  const std::string first = w_.colour(p_.upper_dye.dye), second = w_.colour(p_.second_dye.dye);
  if (first.empty() || second.empty() || first == second) return first.empty() ? second : first;
  return first + " and " + second;
}

// "red striped t-shirt", "t-shirt with red and white stripes".
std::string Phrases::patterned(const std::string& noun) {
  const bool unsaid = w_.chance(0.15F);
  switch (unsaid ? Pattern::kPlain : p_.pattern) {
    case Pattern::kPlain: {
      const bool plain = p_.pattern == Pattern::kPlain && w_.chance(0.06F);
      return spaced({plain ? "plain" : "", dyed(w_.colour(p_.upper_dye.dye), noun)});
    }
    case Pattern::kLogo: {
      const std::string plain = dyed(w_.colour(p_.upper_dye.dye), noun);
      if (!seen_.front || w_.chance(0.3F)) return plain;
      const std::string print = w_.pick({"logo", "print", "design"});
      return plain + " with " + with_article(spaced({w_.chance(0.5F) ? w_.colour(p_.second_dye.dye) : "", print})) +
             w_.pick({" on the front", " on the chest", ""});
    }
    case Pattern::kStriped:
      if (w_.chance(0.25F))
        return spaced({w_.colour(p_.upper_dye.dye), noun, "with", w_.colour(p_.second_dye.dye), "stripes"});
      return spaced({w_.chance(0.75F) ? upper_colours() : "", w_.pick({"striped", "striped", "stripy"}), noun});
    case Pattern::kChecked:
      return spaced({w_.chance(0.75F) ? upper_colours() : "", w_.pick({"checked", "plaid", "checkered"}), noun});
    case Pattern::kTwoTone:
      if (w_.chance(0.6F)) return spaced({upper_colours(), noun});
      return spaced(
          {w_.british() ? w_.pick({"two-tone", "two-coloured"}) : w_.pick({"two-tone", "color-block"}), noun});
    case Pattern::kDotted:
      if (w_.chance(0.3F))
        return spaced({w_.colour(p_.upper_dye.dye), noun, "with", w_.colour(p_.second_dye.dye), "dots"});
      return spaced({w_.colour(p_.upper_dye.dye), w_.pick({"polka-dot", "dotted", "spotted"}), noun});
  }
  return noun;
}

std::string Phrases::upper() {
  const std::string garment = patterned(upper_noun());
  const bool vest = p_.upper == Upper::kVest;
  const bool inner_shows = vest || (p_.open_front && seen_.front);
  if (inner_shows && w_.chance(0.6F)) {
    const std::string inner =
        vest ? w_.pick({"long-sleeved top", "long-sleeved shirt", "top"}) : w_.pick({"shirt", "t-shirt", "top"});
    const std::string open = p_.open_front && seen_.front && w_.chance(0.5F) ? "open " : "";
    return with_article(open + garment) + w_.pick({" over ", " over ", " on top of "}) +
           with_article(spaced({w_.colour(p_.inner_dye.dye), inner}));
  }
  return with_article(garment);
}

std::string Phrases::lower() {
  const std::string colour = w_.colour(p_.lower_dye.dye);
  std::string noun;
  bool plural = true;
  switch (p_.lower) {
    case Lower::kTrousers:
      noun = w_.british() ? w_.pick({"trousers", "trousers", "long trousers"})
                          : w_.pick({"pants", "pants", "trousers", "slacks"});
      break;
    case Lower::kJeans:
      noun = w_.pick({"jeans", "jeans", "denim jeans", w_.british() ? "trousers" : "pants"});
      break;
    case Lower::kShorts:
      noun = w_.pick({"shorts", "shorts", "short pants"});
      break;
    case Lower::kLeggings:
      noun = w_.pick({"leggings", "leggings", w_.british() ? "tight trousers" : "tight pants"});
      break;
    case Lower::kSkirt:
      noun = w_.pick({"skirt", "short skirt", "knee-length skirt"});
      plural = false;
      break;
    case Lower::kLongSkirt:
      noun = w_.pick({"long skirt", "long skirt", "skirt", "ankle-length skirt"});
      plural = false;
      break;
    case Lower::kNone:
      return "";
  }
  const std::string phrase = dyed(colour, noun);
  if (!plural) return with_article(phrase);
  return w_.chance(0.15F) ? "a pair of " + phrase : phrase;
}

std::string Phrases::shoes() {
  const std::string colour = w_.colour(p_.shoes_dye.dye);
  std::string noun;
  switch (p_.shoes) {
    case Shoes::kSneakers:
      noun = w_.british() ? w_.pick({"trainers", "sneakers", "shoes"})
                          : w_.pick({"sneakers", "sneakers", "running shoes", "shoes", "sports shoes"});
      break;
    case Shoes::kLeatherShoes:
      noun = w_.pick({"shoes", "leather shoes", "dress shoes"});
      break;
    case Shoes::kBoots:
      noun = w_.pick({"boots", "boots", "ankle boots"});
      break;
    case Shoes::kSandals:
      noun = w_.pick({"sandals", "sandals", "open sandals"});
      break;
  }
  const std::string phrase = dyed(colour, noun);
  return w_.chance(0.15F) ? "a pair of " + phrase : phrase;
}

std::string Phrases::headwear() {
  const std::string colour = w_.colour(p_.headwear_dye.dye);
  switch (p_.headwear) {
    case Headwear::kNone:
      return "";
    case Headwear::kCap:
      return with_article(dyed(colour, w_.pick({"cap", "cap", "baseball cap"})));
    case Headwear::kBeanie:
      return with_article(dyed(colour, w_.pick({"beanie", "knitted hat", w_.british() ? "woolly hat" : "knit cap"})));
    case Headwear::kBrimmedHat:
      return with_article(dyed(colour, w_.pick({"hat", "hat", "brimmed hat", "wide-brimmed hat", "sun hat"})));
    case Headwear::kHood:
      return w_.pick({"the hood up", "the hood pulled up", "the hood over the head"});
  }
  return "";
}

std::string Phrases::scarf() {
  return with_article(spaced({w_.colour(p_.scarf_dye.dye), w_.pick({"scarf", "scarf", "scarf round the neck"})}));
}

std::string Phrases::eyewear() {
  if (p_.eyewear == Eyewear::kSunglasses) return w_.pick({"sunglasses", "dark glasses"});
  return w_.pick({"glasses", "glasses", "eyeglasses", "spectacles"});
}

std::string Phrases::mask() {
  return w_.pick({"a face mask", "a white mask", "a mask"});
}

bool Phrases::hair_is_seen() const {
  if (p_.headwear == Headwear::kHood) return false;
  const bool hatted = p_.headwear != Headwear::kNone;
  const float head_facing = std::cos(view_.yaw + view_.head_yaw);
  switch (p_.hair) {
    case HairStyle::kShort:
    case HairStyle::kBald:
    case HairStyle::kBun:
      return !hatted;
    case HairStyle::kPonytail:
      return head_facing < 0.7F || !hatted;
    case HairStyle::kCurly:
      return !hatted;
    case HairStyle::kBob:
    case HairStyle::kLong:
      return true;
  }
  return true;
}

std::string Phrases::hair() {
  const std::string colour = w_.colour(p_.hair_colour);
  const bool tail_seen = std::cos(view_.yaw + view_.head_yaw) < 0.7F;
  switch (p_.hair) {
    case HairStyle::kShort:
      return spaced({w_.pick({"short", "short", "short", "short-cut", ""}), colour, "hair"});
    case HairStyle::kBob:
      return spaced({w_.pick({"chin-length", "medium-length", "bobbed", "short"}), colour, "hair"});
    case HairStyle::kLong:
      return spaced({w_.pick({"long", "long", "long straight", "shoulder-length", ""}), colour, "hair"});
    case HairStyle::kPonytail:
      if (!tail_seen) return colour + w_.pick({" hair", " hair tied back"});
      return w_.chance(0.4F)
                 ? with_article(colour + " ponytail")
                 : colour + " hair " + w_.pick({"in a ponytail", "tied in a ponytail", "tied back in a ponytail"});
    case HairStyle::kBun:
      return w_.chance(0.3F) ? with_article(colour + " bun")
                             : colour + " hair " + w_.pick({"in a bun", "tied in a bun", "pinned up in a bun"});
    case HairStyle::kCurly:
      return spaced({w_.pick({"", "", "thick"}), w_.pick({"curly", "curly", "frizzy"}), colour, "hair"});
    case HairStyle::kBald:
      return w_.pick({"a bald head", "a shaved head", "no hair"});
  }
  return "";
}

std::string Phrases::beard() {
  return w_.pick({"a beard", "a beard", "a full beard"});
}

std::string Phrases::bag() {
  const std::string colour = w_.colour(p_.bag_dye.dye);
  switch (p_.bag) {
    case Bag::kNone:
      return "";
    case Bag::kBackpack: {
      const std::string pack =
          with_article(dyed(colour, w_.british() ? w_.pick({"rucksack", "backpack"}) : "backpack"));
      return w_.chance(0.5F) ? w_.pick({"carrying ", "wearing "}) + pack : "carrying " + pack + " on " + his_ + " back";
    }
    case Bag::kHandbag:
      return w_.pick({"carrying ", "holding "}) +
             with_article(dyed(colour, w_.british() ? "handbag" : w_.pick({"handbag", "purse", "handbag"}))) +
             (w_.chance(0.25F) ? " in one hand" : "");
    case Bag::kShoulderBag: {
      const std::string kind = w_.pick({"shoulder bag", "bag", "crossbody bag", "messenger bag"});
      const std::string phrase = "carrying " + with_article(dyed(colour, kind));
      return kind == "bag" ? phrase + " over " + his_ + " shoulder" : phrase;
    }
    case Bag::kSuitcase:
      return w_.pick({"pulling ", "pulling ", "dragging "}) +
             with_article(dyed(colour, w_.pick({"suitcase", "suitcase", "rolling suitcase", "trolley case"})));
    case Bag::kShoppingBag:
      return w_.pick({"carrying ", "holding "}) +
             with_article(
                 dyed(colour, w_.pick({"shopping bag", "shopping bag", w_.british() ? "carrier bag" : "paper bag"})));
  }
  return "";
}

std::string Phrases::carried() {
  const std::string colour = w_.chance(0.7F) ? w_.colour(p_.carried_dye.dye) : "";
  switch (p_.carried) {
    case Carried::kNone:
      return "";
    case Carried::kPhone:
      if (view_.phone_at_ear)
        return w_.pick({"talking on the phone", "making a phone call", "holding a phone to the ear"});
      return w_.british() ? w_.pick({"looking at a phone", "holding a mobile phone", "using a mobile phone"})
                          : w_.pick({"looking at a phone", "holding a cell phone", "using a phone"});
    case Carried::kCup:
      return "holding " + with_article(dyed(colour, w_.pick({"cup", "paper cup", "coffee cup"})));
    case Carried::kBottle:
      return w_.pick({"holding ", "carrying "}) + with_article(dyed(colour, w_.pick({"bottle", "water bottle"})));
    case Carried::kBook:
      return w_.pick({"holding ", "carrying ", "reading "}) + with_article(dyed(colour, "book"));
    case Carried::kUmbrella:
      return w_.pick({"holding ", "carrying ", "walking under "}) + with_article(dyed(colour, "umbrella"));
  }
  return "";
}

std::string Phrases::pose(bool with_place) {
  if (with_place) return (view_.walking ? "walking " : w_.pick({"standing ", "standing still "})) + place();
  if (!view_.walking) return w_.pick({"standing", "standing still", "standing"});
  const float side = std::sin(view_.yaw);
  if (std::abs(side) > 0.85F && w_.chance(0.4F)) return side > 0 ? "walking to the right" : "walking to the left";
  if (std::cos(view_.yaw) < -0.7F && w_.chance(0.4F)) return w_.pick({"walking away", "walking away from the camera"});
  if (std::cos(view_.yaw) > 0.7F && w_.chance(0.3F)) return w_.pick({"walking towards the camera", "walking forward"});
  return w_.pick({"walking", "walking", "strolling", "walking along"});
}

std::string Phrases::place() {
  const bool walks = view_.walking;
  const char* shop = w_.british() ? "shop" : "store";
  switch (view_.place) {
    case Place::kStreet:
      return w_.british() ? w_.pick({"on the street", "on the pavement"})
                          : w_.pick({"on the street", "on the sidewalk"});
    case Place::kBrickWall:
      return std::string(walks ? "past" : "in front of") + " a brick wall";
    case Place::kPlainWall:
      return walks ? "along a wall" : "in front of a wall";
    case Place::kPark:
      return w_.pick({"in a park", "in the park"});
    case Place::kShopFront:
      return walks ? std::string("past a ") + shop + " window" : std::string("in front of a ") + shop;
    case Place::kIndoors:
      return w_.pick({"indoors", "in a hallway", "inside a building"});
    case Place::kCrossing:
      if (walks) return w_.british() ? "across the road" : "across the street";
      return w_.british() ? "at a zebra crossing" : "at a crosswalk";
    case Place::kStation:
      return w_.pick({"at a station", "on a platform"});
  }
  return "";
}

}  // namespace muster::synth
