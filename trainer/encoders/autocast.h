// Matrix products and attention in bfloat16, everything else as it is: at::autocast, for a scope.
#pragma once

#include <c10/core/Device.h>

namespace muster {

// While one lives on this thread, weights stay float32 and are cast where they are used; layer norms and the residual
// stream stay float32. Casts of a weight are kept until the outermost scope ends, so a weight must not change within.
// Does nothing if not enabled.
class Bf16Scope {
 public:
  // Of what is computed on this type of device.
  Bf16Scope(bool enabled, at::DeviceType device);
  ~Bf16Scope();
  Bf16Scope(const Bf16Scope&) = delete;
  Bf16Scope& operator=(const Bf16Scope&) = delete;

 private:
  bool enabled_;
  at::DeviceType device_;
  bool was_enabled_ = false;
};

}  // namespace muster
