#include "comm/all_or_none.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>

#include <cstring>

#include "launch/error.h"

namespace muster {

void all_or_none(Communicator& communicator, const std::string& name, const std::function<void()>& part) {
  std::string failure;
  int first = communicator.size();
  try {
    part();
  } catch (const DataError& error) {
    failure = error.what();
    first = communicator.rank();
  }
  const at::Tensor lowest = at::scalar_tensor(first, at::kInt);
  communicator.all_reduce(lowest, ReduceOp::kMin, name).wait();
  first = lowest.item<int>();
  if (first == communicator.size()) return;
  const at::Tensor size = at::scalar_tensor(static_cast<int64_t>(failure.size()), at::kLong);
  communicator.broadcast(size, first, name).wait();
  const at::Tensor bytes = at::empty({size.item<int64_t>()}, at::kByte);
  if (communicator.rank() == first) std::memcpy(bytes.mutable_data_ptr(), failure.data(), failure.size());
  communicator.broadcast(bytes, first, name).wait();
  throw DataError({static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.numel())});
}

}  // namespace muster
