// Noun phrases and participles for what a person is and has: "a navy striped t-shirt", "pulling a red suitcase".
#pragma once

#include <string>

#include "dataloader/synth/view.h"
#include "dataloader/synth/words.h"

namespace muster::synth {

class Phrases {
 public:
  // `his`: the possessive in use ("his", "her", "their"). The references must outlive this.
  Phrases(Words& words, const Person& person, const View& view, const Visible& seen, std::string his)
      : w_(words), p_(person), view_(view), seen_(seen), his_(std::move(his)) {}

  // Things worn, with their article: "a red coat", "blue jeans", "a pair of boots".
  std::string upper();
  std::string lower();  // not for Lower::kNone
  std::string shoes();
  std::string headwear();
  std::string scarf();
  std::string eyewear();
  std::string mask();

  // After "has" or "with": "short black hair", "a shaved head", "a beard".
  std::string hair();
  bool hair_is_seen() const;
  std::string beard();

  // After "is": "carrying a green handbag", "talking on the phone".
  std::string bag();
  std::string carried();
  // "walking", "standing still on the street".
  std::string pose(bool with_place);

 private:
  std::string place();
  std::string upper_noun();
  std::string upper_colours();
  std::string patterned(const std::string& noun);

  Words& w_;
  const Person& p_;
  const View& view_;
  const Visible& seen_;
  std::string his_;
};

}  // namespace muster::synth
