#include "dataloader/synth/person.h"

#include <array>

#include "dataloader/synth/dice.h"

namespace muster::synth {
namespace {

// Weights in the order of Dye: black white grey darkgrey red burgundy pink orange yellow green darkgreen olive
// lightblue blue navy teal purple brown beige.
using DyeWeights = std::array<float, kDyes>;
constexpr DyeWeights kUpperDyes = {9, 8, 6, 4, 7, 4, 5, 4, 5, 5, 4, 4, 6, 6, 6, 4, 5, 4, 5};
constexpr DyeWeights kLowerDyes = {12, 5, 7, 7, 3, 3, 1, 1, 1, 2, 3, 5, 3, 4, 8, 2, 2, 6, 8};
constexpr DyeWeights kJeansDyes = {5, 2, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 8, 14, 9, 0, 0, 0, 0};
constexpr DyeWeights kShoeDyes = {12, 12, 5, 3, 4, 1, 2, 1, 1, 1, 0, 0, 2, 3, 2, 1, 0, 8, 3};
constexpr DyeWeights kLeatherDyes = {12, 1, 1, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 10, 4};
constexpr DyeWeights kBagDyes = {10, 4, 5, 2, 6, 3, 4, 4, 4, 4, 3, 3, 3, 5, 4, 3, 3, 7, 4};

Colour vary(Dice& dice, Colour shade, float amount) {
  const float all = dice.uniform(-amount, amount);
  return {std::clamp(shade.r + all + dice.uniform(-amount, amount) * 0.4F, 0.03F, 0.97F),
          std::clamp(shade.g + all + dice.uniform(-amount, amount) * 0.4F, 0.03F, 0.97F),
          std::clamp(shade.b + all + dice.uniform(-amount, amount) * 0.4F, 0.03F, 0.97F)};
}

Dyed dye_of(Dice& dice, const DyeWeights& weights) {
  const Dye dye = static_cast<Dye>(dice.weighted(weights));
  return {dye, vary(dice, shade_of(dye), 0.03F)};
}

// A colour that stands out from `other`: patterns and logos must be seen.
Dyed contrasting(Dice& dice, const DyeWeights& weights, const Dyed& other) {
  Dyed second = dye_of(dice, weights);
  for (int tries = 0; tries < 20; ++tries) {
    const Colour a = second.shade, b = other.shade;
    const float distance = std::abs(luminance(a) - luminance(b)) +
                           0.5F * (std::abs(a.r - b.r) + std::abs(a.g - b.g) + std::abs(a.b - b.b));
    if (distance > 0.6F) return second;
    second = dye_of(dice, weights);
  }
  const Dye dye = luminance(other.shade) > 0.5F ? Dye::kBlack : Dye::kWhite;
  return {dye, shade_of(dye)};
}

void make_head(Dice& dice, Person& p) {
  p.skin = skin_shade(std::pow(dice.uniform(0, 1), 1.2F));
  const bool man = p.kind == Kind::kMan, woman = p.kind == Kind::kWoman;
  // short bob long ponytail bun curly bald
  p.hair = man     ? dice.choose<HairStyle>({12, 1, 1, 0.7F, 0.4F, 2.5F, 3})
           : woman ? dice.choose<HairStyle>({1.5F, 4, 6, 4.5F, 2.5F, 2.5F, 0.1F})
                   : dice.choose<HairStyle>({5, 3, 3, 2.5F, 1.5F, 2.5F, 1});
  p.hair_colour = dice.choose<HairColour>({7, 6, 4, 2, 2, 1.2F});
  p.hair_shade = vary(dice, shade_of(p.hair_colour), 0.03F);
  p.beard = man && dice.chance(0.28F);
  p.mask = !p.beard && dice.chance(0.06F);
  p.eyewear = dice.choose<Eyewear>({8, 2, 1});
  p.headwear = dice.choose<Headwear>({13, 2.5F, 1.8F, 1.5F, 0});
  p.headwear_dye = dye_of(dice, kUpperDyes);
  p.headphones = p.headwear == Headwear::kNone && dice.chance(0.05F);
}

Pattern pattern_for(Dice& dice, Upper upper) {
  switch (upper) {  // plain striped checked two-tone logo dotted
    case Upper::kTShirt:
      return dice.choose<Pattern>({7, 3, 0, 1.5F, 4, 0.6F});
    case Upper::kShirt:
      return dice.choose<Pattern>({5, 2.5F, 5, 0, 0, 1});
    case Upper::kJacket:
      return dice.choose<Pattern>({8, 0, 0.8F, 2.5F, 0, 0});
    case Upper::kCoat:
      return dice.choose<Pattern>({9, 0, 1.5F, 0, 0, 0});
    case Upper::kHoodie:
      return dice.choose<Pattern>({7, 0, 0, 2, 4, 0});
    case Upper::kSweater:
      return dice.choose<Pattern>({6, 4, 1, 1.5F, 0.8F, 0.4F});
    case Upper::kVest:
      return dice.choose<Pattern>({8, 0, 0, 1.5F, 0, 0});
    case Upper::kTankTop:
      return dice.choose<Pattern>({7, 3, 0, 0, 1.5F, 0.5F});
    case Upper::kDress:
      return dice.choose<Pattern>({7, 2, 1, 0, 0, 3});
  }
  return Pattern::kPlain;
}

void make_upper(Dice& dice, Person& p) {
  const bool woman = p.kind == Kind::kWoman, man = p.kind == Kind::kMan;
  // t-shirt shirt jacket coat hoodie sweater vest tank-top dress
  p.upper = dice.choose<Upper>({7, 5, 6, 4, 4.5F, 4, 2, 1.5F, woman ? 5.0F : man ? 0.0F : 1.0F});
  p.upper_dye = dye_of(dice, kUpperDyes);
  p.pattern = pattern_for(dice, p.upper);
  p.second_dye = contrasting(dice, kUpperDyes, p.upper_dye);
  const bool outer = p.upper == Upper::kJacket || p.upper == Upper::kCoat;
  p.open_front = (outer && dice.chance(0.5F)) || (p.upper == Upper::kVest && dice.chance(0.4F)) ||
                 (p.upper == Upper::kShirt && dice.chance(0.2F));
  p.inner_dye = contrasting(dice, kUpperDyes, p.upper_dye);
  const bool may_be_long = p.upper == Upper::kShirt || p.upper == Upper::kDress;
  p.long_sleeves = outer || p.upper == Upper::kHoodie || p.upper == Upper::kSweater || p.upper == Upper::kVest ||
                   (may_be_long && dice.chance(0.5F)) || (p.upper == Upper::kTShirt && dice.chance(0.12F));
  if (p.upper == Upper::kHoodie && p.headwear == Headwear::kNone && dice.chance(0.2F)) {
    p.headwear = Headwear::kHood;
    p.headwear_dye = p.upper_dye;
    p.headphones = false;
  }
  const bool warm = outer || p.upper == Upper::kSweater;
  p.scarf = dice.chance(warm ? 0.22F : 0.03F);
  p.scarf_dye = contrasting(dice, kUpperDyes, p.upper_dye);
}

void make_lower(Dice& dice, Person& p) {
  const bool woman = p.kind == Kind::kWoman, man = p.kind == Kind::kMan;
  const bool coat = p.upper == Upper::kCoat;
  // trousers jeans shorts skirt long-skirt leggings
  p.lower = p.upper == Upper::kDress ? Lower::kNone
            : man                    ? dice.choose<Lower>({9, 8, coat ? 0.0F : 5.0F, 0, 0, 0.3F})
            : woman                  ? dice.choose<Lower>({5, 5, coat ? 0.0F : 2.5F, coat ? 0.5F : 4.0F, 2.5F, 3})
                                     : dice.choose<Lower>({8, 7, coat ? 0.0F : 4.0F, 1, 0.7F, 1.5F});
  p.lower_dye = dye_of(dice, p.lower == Lower::kJeans ? kJeansDyes : kLowerDyes);
  p.belt = (p.lower == Lower::kTrousers || p.lower == Lower::kJeans) && dice.chance(0.3F);
  p.shoes = dice.choose<Shoes>({8, 4, 3, p.lower == Lower::kShorts || p.lower == Lower::kNone ? 2.5F : 0.8F});
  const bool leather = p.shoes == Shoes::kLeatherShoes || p.shoes == Shoes::kBoots || p.shoes == Shoes::kSandals;
  p.shoes_dye = dye_of(dice, leather ? kLeatherDyes : kShoeDyes);
}

void make_things(Dice& dice, Person& p) {
  const bool woman = p.kind == Kind::kWoman;
  // none backpack handbag shoulder-bag suitcase shopping-bag
  p.bag = dice.choose<Bag>({7, 6, woman ? 5.0F : 1.2F, 3.5F, 1.8F, 2});
  // A backpack that melts into the back would be no help to anybody.
  p.bag_dye = p.bag == Bag::kBackpack ? contrasting(dice, kBagDyes, p.upper_dye) : dye_of(dice, kBagDyes);
  p.bag_side = dice.chance(0.5F) ? 1 : -1;
  p.carried = dice.choose<Carried>({14, 2.2F, 1.4F, 1.2F, 1.4F, 1.6F});
  if (p.headwear == Headwear::kBrimmedHat && p.carried == Carried::kUmbrella) p.carried = Carried::kNone;
  p.carried_dye = dye_of(dice, kBagDyes);
}

}  // namespace

Person make_person(uint64_t seed, int64_t identity) {
  Dice dice(seed, static_cast<uint64_t>(identity), Stream::kPerson);
  Person p;
  p.kind = dice.choose<Kind>({4, 4, 2});
  p.build = std::clamp(dice.uniform(-0.7F, 0.7F) + dice.uniform(-0.7F, 0.7F), -1.0F, 1.0F);
  p.height = dice.uniform(0.93F, 1.07F);
  p.head = dice.uniform(0.95F, 1.08F);
  make_head(dice, p);
  make_upper(dice, p);
  make_lower(dice, p);
  make_things(dice, p);
  return p;
}

}  // namespace muster::synth
