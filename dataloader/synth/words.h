// Choice of words: synonyms, two spellings, colours named exactly, vaguely or not at all, and the joints of English.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "dataloader/synth/dice.h"
#include "dataloader/synth/palette.h"

namespace muster::synth {

class Words {
 public:
  // `vagueness` in [0, 1]: how often this speaker blurs or drops a colour.
  Words(Dice& dice, bool british, float vagueness) : dice_(dice), british_(british), vagueness_(vagueness) {}

  // One of these, each as likely.
  std::string pick(std::initializer_list<const char*> words);
  bool chance(float probability) { return dice_.chance(probability); }
  int below(int bound) { return dice_.below(bound); }
  bool british() const { return british_; }

  // Always a true name: "navy", "dark blue", or vaguely "dark". May be empty if `optional`.
  std::string colour(Dye dye, bool optional = true);
  std::string colour(HairColour colour);

 private:
  std::string exact(Dye dye);
  std::string vague(Dye dye);

  Dice& dice_;
  bool british_;
  float vagueness_;
};

// Non-empty words with single blanks between.
std::string spaced(std::initializer_list<std::string> words);
// The colour before the noun, but after an adjective of length: "black shoes", "long black coat".
std::string dyed(const std::string& colour, const std::string& noun);
// "a coat", "an orange coat".
std::string with_article(const std::string& phrase);
// "a, b and c".
std::string listed(const std::vector<std::string>& phrases);
std::string capitalised(std::string sentence);

}  // namespace muster::synth
