#include "trainer/losses/loss_term.h"

#include <fmt/format.h>

#include <cmath>

#include "trainer/losses/losses.pb.h"

namespace muster {
namespace {

std::string all_loss_names() {
  const google::protobuf::OneofDescriptor* losses = Term::descriptor()->FindOneofByName("loss");
  std::string names;
  for (int i = 0; i < losses->field_count(); ++i) names += (i == 0 ? "" : ", ") + losses->field(i)->name();
  return names;
}

}  // namespace

std::string loss_name(const Term& term) {
  return term.loss_case() == Term::LOSS_NOT_SET ? "" : Term::descriptor()->FindFieldByNumber(term.loss_case())->name();
}

LossTerm describe(const Term& term, const std::string& path, Checks& checks) {
  if (std::isinf(term.weight())) {
    checks.require(false, path + ".weight", term.weight(), "a finite number, 0 or more");
  } else {
    checks.at_least(0.0, path + ".weight", term.weight());
  }
  if (term.pair().empty()) {
    checks.add(path + ".pair is empty: give the name of a pair of features, or leave it out for \"global\"");
  }
  const std::string field = path + "." + loss_name(term);
  switch (term.loss_case()) {
    case Term::kInfoNce:
      return describe(term.info_nce(), field, checks);
    case Term::kSdm:
      return describe(term.sdm(), field, checks);
    case Term::kTriplet:
      return describe(term.triplet(), field, checks);
    case Term::kSiglip:
      return describe(term.siglip(), field, checks);
    case Term::kCmpm:
      return describe(term.cmpm(), field, checks);
    case Term::kTal:
      return describe(term.tal(), field, checks);
    case Term::kNtXent:
      return describe(term.nt_xent(), field, checks);
    case Term::kCyclic:
      return describe(term.cyclic(), field, checks);
    case Term::kListNet:
      return describe(term.list_net(), field, checks);
    case Term::LOSS_NOT_SET:
      break;
  }
  checks.add(fmt::format("{} names no loss: give one of {}, such as info_nce {{ }}", path, all_loss_names()));
  return {};
}

}  // namespace muster
