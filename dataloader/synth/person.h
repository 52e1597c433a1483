// A person: everything that stays the same from view to view. A pure function of (seed, identity).
#pragma once

#include <cstdint>

#include "dataloader/synth/palette.h"

namespace muster::synth {

// What captions call the person. It shifts how likely hair styles and garments are; body build is independent of it.
enum class Kind { kMan, kWoman, kPerson };

enum class HairStyle { kShort, kBob, kLong, kPonytail, kBun, kCurly, kBald };
enum class Headwear { kNone, kCap, kBeanie, kBrimmedHat, kHood };
enum class Eyewear { kNone, kGlasses, kSunglasses };
enum class Upper { kTShirt, kShirt, kJacket, kCoat, kHoodie, kSweater, kVest, kTankTop, kDress };
enum class Pattern { kPlain, kStriped, kChecked, kTwoTone, kLogo, kDotted };
// kNone only under a dress.
enum class Lower { kTrousers, kJeans, kShorts, kSkirt, kLongSkirt, kLeggings, kNone };
enum class Shoes { kSneakers, kLeatherShoes, kBoots, kSandals };
enum class Bag { kNone, kBackpack, kHandbag, kShoulderBag, kSuitcase, kShoppingBag };
enum class Carried { kNone, kPhone, kCup, kBottle, kBook, kUmbrella };

// A colour with a name, and the exact shade that this person's thing has.
struct Dyed {
  Dye dye = Dye::kBlack;
  Colour shade;
};

struct Person {
  Kind kind = Kind::kPerson;
  float build = 0;   // -1 slim .. 1 heavy
  float height = 1;  // relative
  float head = 1;    // size of the head relative to the body
  Colour skin;
  HairStyle hair = HairStyle::kShort;
  HairColour hair_colour = HairColour::kBlack;
  Colour hair_shade;
  bool beard = false;
  bool mask = false;  // over mouth and nose
  bool headphones = false;
  Eyewear eyewear = Eyewear::kNone;
  Headwear headwear = Headwear::kNone;
  Dyed headwear_dye;
  bool scarf = false;
  Dyed scarf_dye;

  Upper upper = Upper::kTShirt;
  Dyed upper_dye;
  Pattern pattern = Pattern::kPlain;
  Dyed second_dye;  // of the pattern
  bool long_sleeves = false;
  bool open_front = false;  // jacket, coat, shirt or vest worn open over an inner shirt
  Dyed inner_dye;           // what shows under an open front, and the sleeves under a vest

  Lower lower = Lower::kTrousers;
  Dyed lower_dye;
  Shoes shoes = Shoes::kSneakers;
  Dyed shoes_dye;
  bool belt = false;

  Bag bag = Bag::kNone;
  Dyed bag_dye;
  int bag_side = 1;                  // 1: the person's left, -1: right
  Carried carried = Carried::kNone;  // in the hand of the other side
  Dyed carried_dye;                  // of an umbrella, cup, bottle or book
};

Person make_person(uint64_t seed, int64_t identity);

}  // namespace muster::synth
