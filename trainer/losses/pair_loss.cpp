#include "trainer/losses/pair_loss.h"

#include <stdexcept>

#include "trainer/losses/losses.pb.h"

namespace muster {

template <typename T>
std::unique_ptr<PairLoss<T>> make_pair_loss(const Term& term, double logit_scale) {
  switch (term.loss_case()) {
    case Term::kInfoNce:
      return make_info_nce<T>(term.info_nce(),
                              term.info_nce().has_temperature() ? 1 / term.info_nce().temperature() : logit_scale);
    case Term::kSdm:
      return make_sdm<T>(term.sdm(), term.sdm().has_temperature() ? 1 / term.sdm().temperature() : logit_scale);
    case Term::kTriplet:
      return make_triplet<T>(term.triplet());
    case Term::LOSS_NOT_SET:
      break;
  }
  throw std::logic_error("make_pair_loss: a term without a loss");
}

template std::unique_ptr<PairLoss<float>> make_pair_loss(const Term& term, double logit_scale);
template std::unique_ptr<PairLoss<double>> make_pair_loss(const Term& term, double logit_scale);

}  // namespace muster
