#include "trainer/heads/identity_classifier.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "trainer/encoders/host_to_device.h"
#include "trainer/encoders/initialiser.h"

namespace muster {
namespace {

// Streams of the first values, apart from the model's and other heads'.
constexpr uint64_t kFirstTensor = uint64_t{3} << 32;

class IdentityClassifier : public Head {
 public:
  IdentityClassifier(const IdentityClassifierConfig& config, const ModelConfig& model, std::vector<int64_t> identities,
                     uint64_t seed)
      : weight_of_head_(config.weight()), identities_(std::move(identities)) {
    const auto classes = static_cast<int64_t>(identities_.size());
    weight_ =
        register_parameter("weight", Initialiser(seed, kFirstTensor).normal({classes, model.joint_width()}, 1e-3));
    bias_ = register_parameter("bias", at::zeros({classes}));
  }

  std::string name() const override { return "identity_classifier"; }
  bool needs_references() const override { return false; }
  double weight(double /*epoch*/) const override { return weight_of_head_; }
  int64_t count(const Batch& batch, uint64_t /*seed*/) const override { return batch.size(); }

  at::Tensor sum(const Batch& batch, const Features& live, const at::Tensor& /*references*/, Model& /*model*/,
                 uint64_t /*seed*/) const override {
    const FeaturePair& pair = live.pairs.front();
    const at::Tensor logits = at::linear(at::cat({pair.image, pair.text}), weight_, bias_).to(bias_.scalar_type());
    const at::Tensor own = classes_of(batch);
    const at::Tensor both = host_to_device(at::cat({own, own}), logits.device());
    return at::cross_entropy_loss(logits, both, {}, at::Reduction::Sum) / 2;
  }

 private:
  at::Tensor classes_of(const Batch& batch) const {
    const at::Tensor identity = batch.identity.contiguous();
    at::Tensor classes = at::empty({batch.size()}, at::kLong);
    for (int64_t i = 0; i < batch.size(); ++i) {
      const int64_t number = identity.const_data_ptr<int64_t>()[i];
      const auto found = std::lower_bound(identities_.begin(), identities_.end(), number);
      if (found == identities_.end() || *found != number) {
        throw std::logic_error("identity_classifier: identity " + std::to_string(number) + " is not trained on");
      }
      classes.mutable_data_ptr<int64_t>()[i] = found - identities_.begin();
    }
    return classes;
  }

  double weight_of_head_;
  std::vector<int64_t> identities_;
  at::Tensor weight_, bias_;  // [identities, width], [identities]
};

}  // namespace

void check_identity_classifier(const IdentityClassifierConfig& config, Checks& checks) {
  checks.at_least(0.0, "heads.identity_classifier.weight", config.weight(), "0: no such head");
}

std::shared_ptr<Head> make_identity_classifier(const IdentityClassifierConfig& config, const ModelConfig& model,
                                               std::vector<int64_t> identities, uint64_t seed) {
  return std::make_shared<IdentityClassifier>(config, model, std::move(identities), seed);
}

}  // namespace muster
