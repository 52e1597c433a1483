// Matrix products and attention in bfloat16, everything else as it is: at::autocast, for a scope.
#pragma once

namespace muster {

// While one lives on this thread, weights stay float32 and are cast where they are used; layer norms and the residual
// stream stay float32. Casts of a weight are kept until the outermost scope ends, so a weight must not change within.
// Does nothing if not enabled.
class Bf16Scope {
 public:
  explicit Bf16Scope(bool enabled);
  ~Bf16Scope();
  Bf16Scope(const Bf16Scope&) = delete;
  Bf16Scope& operator=(const Bf16Scope&) = delete;

 private:
  bool enabled_;
  bool was_enabled_ = false;
};

}  // namespace muster
