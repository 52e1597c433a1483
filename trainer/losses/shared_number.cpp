#include "trainer/losses/shared_number.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>

namespace muster {

SharedNumber::SharedNumber(double init, bool learnable) : value_(init) {
  if (!learnable) return;
  leaf_ = at::full({}, init, at::kFloat);
  leaf_.set_requires_grad(true);
  value_ = leaf_.item<double>();
}

double SharedNumber::value() const {
  if (!leaf_.defined()) return value_;
  const float leaf = leaf_.item<float>();
  return leaf == static_cast<float>(value_) ? value_ : static_cast<double>(leaf);
}

void SharedNumber::set(double value) {
  const at::NoGradGuard no_grad;
  value_ = value;
  if (leaf_.defined()) leaf_.fill_(value);
}

void SharedNumber::clamp(double least, double most) {
  const at::NoGradGuard no_grad;
  if (leaf_.defined()) leaf_.clamp_(least, most);
}

}  // namespace muster
