// The communicator of a world of one, for tensors on any device: every collective is a copy or nothing.
#pragma once

#include "comm/communicator.h"

namespace muster {

class LocalCommunicator final : public Communicator {
 public:
  explicit LocalCommunicator(bool checked = false) : Communicator(0, 1, checked) {}

  bool takes(at::Device) const override { return true; }
  void poll() override {}
  [[noreturn]] void abort(int code, const std::string& reason) override;
  void set_timeout(double) override {}

 private:
  Work do_all_reduce(const at::Tensor& tensor, ReduceOp op, const std::string& name) override;
  Work do_all_gather(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                     const std::string& name) override;
  Work do_reduce_scatter(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                         const std::string& name) override;
  Work do_broadcast(const at::Tensor& tensor, int root, const std::string& name) override;
  Work do_all_to_all(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& send_rows,
                     const std::vector<int64_t>& receive_rows, const std::string& name) override;
  void do_barrier(const std::string& name) override;
};

}  // namespace muster
