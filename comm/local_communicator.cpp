#include "comm/local_communicator.h"

#include <ATen/core/grad_mode.h>

#include "launch/error.h"

namespace muster {
namespace {

void copy(const at::Tensor& output, const at::Tensor& input) {
  const at::NoGradGuard no_grad;
  if (output.data_ptr() != input.data_ptr()) output.copy_(input);
}

}  // namespace

void LocalCommunicator::abort(int, const std::string& reason) {
  throw CommError(reason);
}

Work LocalCommunicator::do_all_reduce(const at::Tensor&, ReduceOp, const std::string&) {
  return Work();
}

Work LocalCommunicator::do_all_gather(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>&,
                                      const std::string&) {
  copy(output, input);
  return Work();
}

Work LocalCommunicator::do_reduce_scatter(const at::Tensor& output, const at::Tensor& input,
                                          const std::vector<int64_t>&, const std::string&) {
  copy(output, input);
  return Work();
}

Work LocalCommunicator::do_broadcast(const at::Tensor&, int, const std::string&) {
  return Work();
}

Work LocalCommunicator::do_all_to_all(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>&,
                                      const std::vector<int64_t>&, const std::string&) {
  copy(output, input);
  return Work();
}

void LocalCommunicator::do_barrier(const std::string&) {}

}  // namespace muster
