// The tagger's lexicon, lexical and contextual rules, and what it then makes of a sentence: four pieces of an input.
#include <string>

#include "dataloader/text/brill_tagger.h"
#include "dataloader/text/penn_words.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {

std::vector<std::string> seeds() {
  const std::string lexicon = "the DT\nman NN\nwalks VBZ\nred JJ\nThe DT\nin IN\nA DT\n1 CD\nBob NNP\n";
  const std::string lexical =
      "NN s fhassuf 1 NNS x\nly hassuf 2 RB x\nun deletepref 2 JJ x\nthe goodright NN x\n- char JJ x\n";
  const std::string context = "VBZ NNS PREVTAG DT\nNN VB PREV1OR2TAG TO\nJJ NN NEXTTAG STAART\nIN RB WDAND2AFT as as\n";
  return {lexicon + "\1" + lexical + "\1" + context + "\1the red man walks quickly in 1,000 Unhappy-cars",
          ";;; note\n\n" + lexicon + "\1" + lexical + "\1" + context + "\1The man"};
}

std::vector<std::string> words() {
  return {"\1",          " ",        "\n",         "\t",           "\r",
          ";;;",         "NN ",      "STAART",     "fhassuf",      "hassuf",
          "addsuf",      "faddsuf",  "deletesuf",  "haspref",      "fdeletepref",
          "char",        "goodleft", "fgoodright", "PREVTAG",      "NEXT1OR2OR3TAG",
          "SURROUNDTAG", "CURWD",    "WDNEXTTAG",  "WDAND2TAGBFR", "WDPREVTAG",
          "\xe4\xba\xba"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  const std::vector<std::string> pieces = fuzz::pieces_of(data, size, 4);
  const fuzz::FolderOfFiles folder(
      {{"en-lexicon.txt", pieces[0]}, {"en-morphology.txt", pieces[1]}, {"en-context.txt", pieces[2]}});
  fuzz::allow_refusal([&] {
    const BrillTagger tagger(folder.path());
    for (const std::vector<std::string>& words : penn_words(std::string_view(pieces[3]).substr(0, 2000))) {
      fuzz::require(tagger.tag(words).size() == words.size(), "each word has a tag");
    }
    tagger.tag({});
  });
  return 0;
}
