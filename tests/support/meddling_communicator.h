// A communicator that looks at, and may change, what its rank hands to another one: for tests of what a damaged rank
// does to a job.
#pragma once

#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"

namespace muster {

class MeddlingCommunicator final : public Communicator {
 public:
  // Called with each tensor that goes into an all-reduce, all-gather or broadcast, and the call's name.
  using Meddle = std::function<void(const at::Tensor& tensor, const std::string& name)>;

  MeddlingCommunicator(Communicator& other, Meddle meddle)
      : Communicator(other.rank(), other.size(), false), other_(other), meddle_(std::move(meddle)) {}

  bool takes(at::Device device) const override { return other_.takes(device); }
  void poll() override { other_.poll(); }
  [[noreturn]] void abort(int code, const std::string& reason) override {
    other_.abort(code, reason);
    std::abort();  // not reached: GCC does not know a virtual function as noreturn
  }
  void set_timeout(double seconds) override { other_.set_timeout(seconds); }
  void set_phase(const std::string& phase, double deadline_s) override { other_.set_phase(phase, deadline_s); }
  void step_done(int64_t step) override {
    steps_done_ = step;
    other_.step_done(step);
  }

  int64_t steps_done() const { return steps_done_; }

 private:
  Work do_all_reduce(const at::Tensor& tensor, ReduceOp op, const std::string& name) override {
    meddle_(tensor, name);
    return other_.all_reduce(tensor, op, name);
  }
  Work do_all_gather(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                     const std::string& name) override {
    meddle_(input, name);
    return other_.all_gather(output, input, rows, name);
  }
  Work do_reduce_scatter(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                         const std::string& name) override {
    return other_.reduce_scatter(output, input, rows, name);
  }
  Work do_broadcast(const at::Tensor& tensor, int root, const std::string& name) override {
    meddle_(tensor, name);
    return other_.broadcast(tensor, root, name);
  }
  Work do_all_to_all(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& send_rows,
                     const std::vector<int64_t>& receive_rows, const std::string& name) override {
    return other_.all_to_all(output, input, send_rows, receive_rows, name);
  }
  void do_barrier(const std::string& name) override { other_.barrier(name); }

  Communicator& other_;
  Meddle meddle_;
  int64_t steps_done_ = 0;
};

}  // namespace muster
