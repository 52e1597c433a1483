// Similarity distribution matching (Jiang and Ye, IRRA, CVPR 2023; github.com/anosorae/IRRA, model/objectives.py): the
// KL of identity_kl.h with one scale for all anchors and targets y / sum(y).
#include <numeric>

#include "trainer/losses/identity_kl.h"
#include "trainer/losses/loss_term.h"
#include "trainer/losses/losses.pb.h"

namespace muster {
namespace {

template <typename T>
class SdmLoss : public IdentityKl<T> {
 public:
  SdmLoss(const Sdm& config, const LogitParameters& logits)
      : IdentityKl<T>(config.epsilon(), false),
        scale_(
            static_cast<double>(static_cast<T>(config.has_temperature() ? 1 / config.temperature() : logits.scale))) {}

  double scale_gradient() const override {
    return std::accumulate(this->row_totals().begin(), this->row_totals().end(), 0.0) / scale_;
  }

 protected:
  AnchorScales scales(const PairBatch& batch) const override { return same_scale(batch, scale_); }
  double target(double positives) const override { return 1 / positives; }

 private:
  double scale_;
};

}  // namespace

LossTerm describe(const Sdm& config, const std::string& path, Checks& checks) {
  if (config.has_temperature()) checks.positive(path + ".temperature", config.temperature());
  checks.positive(path + ".epsilon", config.epsilon());
  LossTerm term = make_loss_term<SdmLoss>(config);
  term.uses_logit_scale = !config.has_temperature();
  return term;
}

}  // namespace muster
