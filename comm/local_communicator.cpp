#include "comm/local_communicator.h"

#include <cstring>

#include "launch/error.h"

namespace muster {
namespace {

void copy_bytes(const at::Tensor& output, const at::Tensor& input) {
  if (output.data_ptr() != input.data_ptr()) std::memcpy(output.data_ptr(), input.data_ptr(), input.nbytes());
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
  copy_bytes(output, input);
  return Work();
}

Work LocalCommunicator::do_reduce_scatter(const at::Tensor& output, const at::Tensor& input,
                                          const std::vector<int64_t>&, const std::string&) {
  copy_bytes(output, input);
  return Work();
}

Work LocalCommunicator::do_broadcast(const at::Tensor&, int, const std::string&) {
  return Work();
}

Work LocalCommunicator::do_all_to_all(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>&,
                                      const std::vector<int64_t>&, const std::string&) {
  copy_bytes(output, input);
  return Work();
}

void LocalCommunicator::do_barrier(const std::string&) {}

}  // namespace muster
