// FLOP of the matrix products that a thread's work makes, read off LibTorch's dispatcher, and of attention.
#pragma once

// As LibTorch was built: without it RecordFunction::inputs() asks for a flag that only a debugging LibTorch sets.
#ifndef NDEBUG
#define NDEBUG
#endif

#include <ATen/core/Tensor.h>
#include <ATen/record_function.h>

#include <memory>
#include <string>
#include <utility>

namespace muster {

// Counts while it lives, on the thread that made it; one at a time. Attention's backward is counted as two of its
// forward (the kernel also makes the scores anew).
class CountedFlop {
 public:
  CountedFlop() {
    current() = 0;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback([](const at::RecordFunction& function) {
                                           current() += flop_of(function);
                                           return std::unique_ptr<at::ObserverContext>();
                                         }).needsInputs(true));
  }
  ~CountedFlop() { at::removeCallback(handle_); }
  CountedFlop(const CountedFlop&) = delete;
  CountedFlop& operator=(const CountedFlop&) = delete;

  // Since the last call.
  double take() { return std::exchange(current(), 0.0); }

 private:
  static double& current() {
    static thread_local double flop = 0;
    return flop;
  }

  static double flop_of(const at::RecordFunction& function) {
    const std::string name = function.name();
    const auto tensor = [&](size_t i) { return function.inputs()[i].toTensor(); };
    const auto product = [](const at::Tensor& a, const at::Tensor& b) {
      return 2.0 * static_cast<double>(a.numel()) * static_cast<double>(b.size(-1));
    };
    if (name == "aten::mm" || name == "aten::bmm") return product(tensor(0), tensor(1));
    if (name == "aten::addmm") return product(tensor(1), tensor(2));
    const bool backward = name == "aten::_scaled_dot_product_flash_attention_for_cpu_backward";
    if (name != "aten::_scaled_dot_product_flash_attention_for_cpu" && !backward) return 0;
    const at::Tensor query = tensor(backward ? 1 : 0),
                     key = tensor(backward ? 2 : 1);  // [b, heads, T, width of a head]
    const double scores = 2.0 * static_cast<double>(query.numel()) * static_cast<double>(key.size(2));
    return (backward ? 4 : 2) * scores;
  }

  at::CallbackHandle handle_;
};

}  // namespace muster
