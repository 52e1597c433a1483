// Cross-modal projection matching (Zhang and Lu, ECCV 2018; compute_cmpm of github.com/anosorae/IRRA,
// model/objectives.py): the KL of identity_kl.h with logits raw anchor . unit other, so that each anchor's length is
// its scale, and targets y / ||y||_2 = y / sqrt(n), which do not sum to 1. A row that counts as zero has equal
// probabilities and no gradient.
#include <cmath>

#include "trainer/losses/identity_kl.h"
#include "trainer/losses/loss_term.h"
#include "trainer/losses/losses.pb.h"

namespace muster {
namespace {

template <typename T>
class CmpmLoss : public IdentityKl<T> {
 public:
  CmpmLoss(const Cmpm& config, const LogitParameters&) : IdentityKl<T>(config.epsilon(), true) {}

  // d / d length = sum of dL/dx * s = sum of weight * u / length^2, as weight = length * dL/dx.
  void add_norm_gradients(double* rows, double* columns) const override {
    for (size_t i = 0; i < this->row_totals().size(); ++i) {
      const double scale = this->softmax().row_scale(static_cast<int64_t>(i));
      if (scale > 0) rows[i] += this->row_totals()[i] / scale / scale;
    }
    for (size_t j = 0; j < this->column_totals().size(); ++j) {
      const double scale = this->softmax().column_scale(static_cast<int64_t>(j));
      if (scale > 0) columns[j] += this->column_totals()[j] / scale / scale;
    }
  }

 protected:
  AnchorScales scales(const PairBatch& batch) const override {
    return {rounded(batch.row_norm), rounded(batch.column_norm)};
  }
  double target(double positives) const override { return 1 / std::sqrt(positives); }

 private:
  static std::vector<double> rounded(const std::vector<double>& norms) {
    std::vector<double> scales;
    for (const double norm : norms) scales.push_back(static_cast<double>(static_cast<T>(norm)));
    return scales;
  }
};

}  // namespace

LossTerm describe(const Cmpm& config, const std::string& path, Checks& checks) {
  checks.positive(path + ".epsilon", config.epsilon());
  return make_loss_term<CmpmLoss>(config);
}

}  // namespace muster
