#include "trainer/encoders/batch_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <utility>

namespace muster {
namespace {

constexpr double kEpsilon = 1e-5, kMomentum = 0.1;

// Who adds up sums: all ranks, or this one alone.
struct Ranks : torch::CustomClassHolder {
  Ranks(Communicator* all, std::string call) : communicator(all), name(std::move(call)) {}

  at::Tensor sum(const at::Tensor& own) const {
    if (communicator == nullptr) return own;
    const at::Tensor sums = communicator->takes(own.device()) ? own : own.to(at::kCPU);
    communicator->all_reduce(sums, ReduceOp::kSum, name).wait();
    return sums.to(own.device());
  }

  Communicator* communicator;
  std::string name;
};

// Normalised by mean and deviation that depend on all rows.
class NormaliseRows : public torch::autograd::Function<NormaliseRows> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const at::Tensor& mean, const at::Tensor& inverse_deviation,
                            const c10::intrusive_ptr<Ranks>& ranks, double rows) {
    const at::Tensor normal = (x - mean) * inverse_deviation;
    context->save_for_backward({normal, weight, inverse_deviation});
    context->saved_data["ranks"] = c10::IValue::make_capsule(ranks);
    context->saved_data["rows"] = rows;
    return normal * weight + bias;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &normal = saved[0], &weight = saved[1], &inverse_deviation = saved[2];
    const at::Tensor& d_y = gradients[0];
    const auto ranks = c10::static_intrusive_pointer_cast<Ranks>(context->saved_data["ranks"].toCapsule());
    const at::Tensor own = at::cat({d_y.sum(0, false, at::kDouble), (d_y * normal).sum(0, false, at::kDouble)});
    const int64_t width = weight.size(0);
    const at::Tensor d_bias = own.narrow(0, 0, width).to(weight.scalar_type(), false, /*copy=*/true);
    const at::Tensor d_weight = own.narrow(0, width, width).to(weight.scalar_type(), false, /*copy=*/true);
    const at::Tensor means = (ranks->sum(own) / context->saved_data["rows"].toDouble()).to(weight.scalar_type());
    const at::Tensor d_x =
        (d_y - means.narrow(0, 0, width) - normal * means.narrow(0, width, width)) * (weight * inverse_deviation);
    return {d_x, d_weight, d_bias, {}, {}, {}, {}};
  }
};

}  // namespace

BatchNorm::BatchNorm(int64_t width) {
  weight_ = register_parameter("weight", at::ones({width}));
  bias_ = register_parameter("bias", at::zeros({width}));
  running_mean_ = register_buffer("running_mean", at::zeros({width}));
  running_variance_ = register_buffer("running_variance", at::ones({width}));
}

void BatchNorm::join(Communicator& communicator, const std::string& name) {
  communicator_ = &communicator;
  name_ = name;
}

at::Tensor BatchNorm::forward(const at::Tensor& x) {
  if (!is_training()) {
    return (x - running_mean_) * (running_variance_ + kEpsilon).rsqrt() * weight_ + bias_;
  }
  const auto ranks = c10::make_intrusive<Ranks>(communicator_, name_);
  at::Tensor mean, variance;
  double rows = 0;
  {
    const at::NoGradGuard no_grad;
    const int64_t width = weight_.size(0);
    const at::Tensor exact = x.to(at::kDouble);
    const at::Tensor count = at::full({1}, x.size(0), exact.options());
    const at::Tensor sums = ranks->sum(at::cat({exact.sum(0), exact.square().sum(0), count}));
    rows = std::max(sums[2 * width].item<double>(), 1.0);
    mean = sums.narrow(0, 0, width) / rows;
    variance = (sums.narrow(0, width, width) / rows - mean.square()).clamp_min(0);
    running_mean_.lerp_(mean.to(weight_.scalar_type()), kMomentum);
    running_variance_.lerp_((variance * (rows / std::max(rows - 1, 1.0))).to(weight_.scalar_type()), kMomentum);
  }
  return NormaliseRows::apply(x.to(weight_.scalar_type()), weight_, bias_, mean.to(weight_.scalar_type()),
                              (variance + kEpsilon).rsqrt().to(weight_.scalar_type()), ranks, rows);
}

}  // namespace muster
