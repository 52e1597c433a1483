#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAFunctions.h>
#include <fmt/format.h>
#include <mpi.h>
#include <nccl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include "comm/host_board.h"
#include "comm/mpi_progress.h"
#include "comm/nccl_communicator.h"
#include "comm/nccl_progress_cuda.h"
#include "comm/reduce_in_order_cuda.h"
#include "comm/tensor_bytes.h"
#include "comm/traffic.h"
#include "launch/error.h"

namespace muster {
namespace {

int64_t rows_before(const std::vector<int64_t>& rows, int rank) {
  return std::accumulate(rows.begin(), rows.begin() + rank, int64_t{0});
}

// NCCL's signatures differ by library only in what they add: a newer one keeps what an older one had.
void check_version() {
  int loaded = 0;
  check_nccl(ncclGetVersion(&loaded), "ncclGetVersion");
  if (loaded < NCCL_VERSION_CODE || loaded / 10000 != NCCL_MAJOR) {
    throw ConfigError(
        fmt::format("the NCCL loaded has version code {}, this program was compiled for {}; build it with the NCCL "
                    "that LibTorch brings",
                    loaded, NCCL_VERSION_CODE));
  }
}

class NcclWork final : public Work::State {
 public:
  NcclWork(std::shared_ptr<NcclProgress> progress, std::shared_ptr<NcclOperation> operation)
      : progress_(std::move(progress)), operation_(std::move(operation)) {}
  void wait() override { progress_->order_current_stream_after(*operation_); }
  bool test() override { return progress_->test(*operation_); }

 private:
  std::shared_ptr<NcclProgress> progress_;
  std::shared_ptr<NcclOperation> operation_;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> host, const NcclOptions& options, const ncclUniqueId& id,
                   std::unique_ptr<StatusBoard> board);

  bool takes(at::Device device) const override { return device.is_cpu() || device == device_; }
  void poll() override {
    host_->poll();
    progress_->poll();
  }
  [[noreturn]] void abort(int code, const std::string& reason) override {
    host_->abort(code, reason);
    _exit(code);  // never reached; the compiler does not know
  }
  void set_timeout(double seconds) override {
    host_->set_timeout(seconds);
    progress_->watchdog().set_timeout(seconds);
  }
  void set_phase(const std::string& phase, double deadline_s) override {
    host_->set_phase(phase, deadline_s);
    progress_->watchdog().set_phase(phase, deadline_s);
  }
  void step_done(int64_t step) override {
    host_->step_done(step);
    progress_->watchdog().step_done(step);
  }

 private:
  Work do_all_reduce(const at::Tensor& tensor, ReduceOp op, const std::string& name) override;
  Work do_all_gather(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                     const std::string& name) override;
  Work do_reduce_scatter(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                         const std::string& name) override;
  Work do_broadcast(const at::Tensor& tensor, int root, const std::string& name) override;
  Work do_all_to_all(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& send_rows,
                     const std::vector<int64_t>& receive_rows, const std::string& name) override;
  void do_barrier(const std::string& name) override { host_->barrier(name); }

  Work start(std::vector<at::Tensor> tensors, int64_t bytes, const std::function<void(const NcclOperation&)>& body);
  at::Tensor scratch(int64_t bytes) const;
  // Parts of an operation, on its stream.
  void gather_equal(const NcclOperation& operation, const void* own, void* all, int64_t bytes_each);
  void exchange(const NcclOperation& operation, const char* input, const std::vector<int64_t>& send_bytes, char* output,
                const std::vector<int64_t>& receive_bytes);
  void gather_and_reduce(const NcclOperation& operation, at::ScalarType dtype, ReduceOp op, char* data, int64_t count);
  void exchange_and_reduce(const NcclOperation& operation, at::ScalarType dtype, ReduceOp op, const char* input,
                           char* output, const std::vector<int64_t>& counts);

  const at::Device device_;
  std::unique_ptr<Communicator> host_;
  std::shared_ptr<NcclProgress> progress_;
};

WatchdogOptions watchdog_options(const Communicator& host, const NcclOptions& options) {
  WatchdogOptions watch;
  watch.rank = host.rank();
  watch.world_size = host.size();
  watch.first_timeout_s = options.first_timeout_s;
  watch.timeout_s = options.timeout_s;
  watch.tick_s = options.tick_s;
  watch.ends_phases = false;  // the host communicator's does
  return watch;
}

NcclCommunicator::NcclCommunicator(std::unique_ptr<Communicator> host, const NcclOptions& options,
                                   const ncclUniqueId& id, std::unique_ptr<StatusBoard> board)
    : Communicator(host->rank(), host->size(), options.checked),
      device_(options.device),
      host_(std::move(host)),
      progress_(
          std::make_shared<NcclProgress>(id, options.device, watchdog_options(*host_, options), std::move(board))) {}

Work NcclCommunicator::start(std::vector<at::Tensor> tensors, int64_t bytes,
                             const std::function<void(const NcclOperation&)>& body) {
  auto operation = std::make_shared<NcclOperation>();
  operation->description = description();
  operation->sequence = sequence();
  operation->bytes = bytes;
  operation->tensors = std::move(tensors);
  progress_->start(operation, [&] { body(*operation); });
  return Work(std::make_unique<NcclWork>(progress_, std::move(operation)));
}

// Taken and dropped on the communicator's stream: whoever gets the memory next gets it in order.
at::Tensor NcclCommunicator::scratch(int64_t bytes) const {
  return at::empty({bytes}, at::TensorOptions(at::kByte).device(device_));
}

void NcclCommunicator::gather_equal(const NcclOperation& operation, const void* own, void* all, int64_t bytes_each) {
  progress_->group(operation, [&](ncclComm_t comm, cudaStream_t stream) {
    check_nccl(ncclAllGather(own, all, static_cast<size_t>(bytes_each), ncclUint8, comm, stream), "ncclAllGather",
               comm);
  });
}

void NcclCommunicator::exchange(const NcclOperation& operation, const char* input,
                                const std::vector<int64_t>& send_bytes, char* output,
                                const std::vector<int64_t>& receive_bytes) {
  progress_->group(operation, [&](ncclComm_t comm, cudaStream_t stream) {
    for (int r = 0; r < size(); ++r) {
      const auto sent = static_cast<size_t>(send_bytes[static_cast<size_t>(r)]);
      const auto received = static_cast<size_t>(receive_bytes[static_cast<size_t>(r)]);
      if (sent > 0) check_nccl(ncclSend(input, sent, ncclUint8, r, comm, stream), "ncclSend", comm);
      if (received > 0) check_nccl(ncclRecv(output, received, ncclUint8, r, comm, stream), "ncclRecv", comm);
      input += sent;
      output += received;
    }
  });
}

void NcclCommunicator::gather_and_reduce(const NcclOperation& operation, at::ScalarType dtype, ReduceOp op, char* data,
                                         int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(c10::elementSize(dtype));
  const at::Tensor gathered = scratch(size() * bytes);
  gather_equal(operation, data, gathered.data_ptr(), bytes);
  reduce_in_order(dtype, op, gathered.data_ptr(), size(), data, count,
                  c10::cuda::getCurrentCUDAStream(device_.index()));
}

// Sends each rank its elements of `input` and folds what the others sent of this rank's into `output`.
void NcclCommunicator::exchange_and_reduce(const NcclOperation& operation, at::ScalarType dtype, ReduceOp op,
                                           const char* input, char* output, const std::vector<int64_t>& counts) {
  const auto element_bytes = static_cast<int64_t>(c10::elementSize(dtype));
  const auto me = static_cast<size_t>(rank());
  std::vector<int64_t> send;
  for (const int64_t count : counts) send.push_back(count * element_bytes);
  const std::vector<int64_t> receive(counts.size(), send[me]);
  const at::Tensor received = scratch(size() * send[me]);
  exchange(operation, input, send, bytes_at(received, 0), receive);
  reduce_in_order(dtype, op, received.data_ptr(), size(), output, counts[me],
                  c10::cuda::getCurrentCUDAStream(device_.index()));
}

Work NcclCommunicator::do_all_reduce(const at::Tensor& tensor, ReduceOp op, const std::string& name) {
  if (tensor.is_cpu()) return host_->all_reduce(tensor, op, name);
  return start({tensor}, static_cast<int64_t>(tensor.nbytes()), [&](const NcclOperation& operation) {
    const auto dtype = tensor.scalar_type();
    const auto element_bytes = static_cast<int64_t>(tensor.element_size());
    const int64_t count = tensor.numel();
    if (count * element_bytes * size() <= kGatherBytes) {
      return gather_and_reduce(operation, dtype, op, bytes_at(tensor, 0), count);
    }
    // Equal pieces, and the few elements that are left over.
    const int64_t piece = count / size();
    char* own_piece = bytes_at(tensor, rank() * piece * element_bytes);
    exchange_and_reduce(operation, dtype, op, bytes_at(tensor, 0), own_piece,
                        std::vector<int64_t>(static_cast<size_t>(size()), piece));
    gather_equal(operation, own_piece, tensor.data_ptr(), piece * element_bytes);
    if (count % size() > 0) {
      gather_and_reduce(operation, dtype, op, bytes_at(tensor, size() * piece * element_bytes), count % size());
    }
  });
}

Work NcclCommunicator::do_all_gather(const at::Tensor& output, const at::Tensor& input,
                                     const std::vector<int64_t>& rows, const std::string& name) {
  if (output.is_cpu()) return host_->all_gather(output, input, rows, name);
  return start({output, input}, static_cast<int64_t>(input.nbytes()), [&](const NcclOperation& operation) {
    const int64_t row_bytes = row_bytes_of(output);
    const auto mine = rows[static_cast<size_t>(rank())];
    if (std::all_of(rows.begin(), rows.end(), [mine](int64_t n) { return n == mine; })) {
      return gather_equal(operation, input.data_ptr(), output.data_ptr(), mine * row_bytes);
    }
    const at::NoGradGuard no_grad;
    const at::Tensor own = output.narrow(0, rows_before(rows, rank()), mine);
    if (own.data_ptr() != input.data_ptr()) own.copy_(input);
    progress_->group(operation, [&](ncclComm_t comm, cudaStream_t stream) {
      char* place = bytes_at(output, 0);
      for (int r = 0; r < size(); ++r) {
        const auto bytes = static_cast<size_t>(rows[static_cast<size_t>(r)] * row_bytes);
        if (bytes > 0) {
          check_nccl(ncclBroadcast(place, place, bytes, ncclUint8, r, comm, stream), "ncclBroadcast", comm);
        }
        place += bytes;
      }
    });
  });
}

Work NcclCommunicator::do_reduce_scatter(const at::Tensor& output, const at::Tensor& input,
                                         const std::vector<int64_t>& rows, const std::string& name) {
  if (input.is_cpu()) return host_->reduce_scatter(output, input, rows, name);
  return start({output, input}, static_cast<int64_t>(input.nbytes()), [&](const NcclOperation& operation) {
    const int64_t row_elements = row_bytes_of(input) / static_cast<int64_t>(input.element_size());
    std::vector<int64_t> counts;
    for (const int64_t n : rows) counts.push_back(n * row_elements);
    exchange_and_reduce(operation, input.scalar_type(), ReduceOp::kSum, bytes_at(input, 0), bytes_at(output, 0),
                        counts);
  });
}

Work NcclCommunicator::do_broadcast(const at::Tensor& tensor, int root, const std::string& name) {
  if (tensor.is_cpu()) return host_->broadcast(tensor, root, name);
  return start({tensor}, static_cast<int64_t>(tensor.nbytes()), [&](const NcclOperation& operation) {
    progress_->group(operation, [&](ncclComm_t comm, cudaStream_t stream) {
      check_nccl(ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), tensor.nbytes(), ncclUint8, root, comm, stream),
                 "ncclBroadcast", comm);
    });
  });
}

Work NcclCommunicator::do_all_to_all(const at::Tensor& output, const at::Tensor& input,
                                     const std::vector<int64_t>& send_rows, const std::vector<int64_t>& receive_rows,
                                     const std::string& name) {
  if (input.is_cpu()) return host_->all_to_all(output, input, send_rows, receive_rows, name);
  return start({output, input}, static_cast<int64_t>(input.nbytes()), [&](const NcclOperation& operation) {
    const int64_t row_bytes = row_bytes_of(input);
    const auto in_bytes = [row_bytes](std::vector<int64_t> rows) {
      for (int64_t& n : rows) n *= row_bytes;
      return rows;
    };
    exchange(operation, bytes_at(input, 0), in_bytes(send_rows), bytes_at(output, 0), in_bytes(receive_rows));
  });
}

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> host, const NcclOptions& options) {
  if (!options.device.is_cuda() || !options.device.has_index()) {
    throw std::logic_error("NCCL needs the number of a GPU, not " + options.device.str());
  }
  if (options.device.index() >= c10::cuda::device_count()) {
    throw ConfigError(fmt::format("rank {} has no {}: CUDA finds {} GPUs here", host->rank(), options.device.str(),
                                  static_cast<int>(c10::cuda::device_count())));
  }
  check_version();
  ncclUniqueId id = {};
  const at::Tensor bytes = at::empty({static_cast<int64_t>(sizeof id)}, at::kByte);
  if (host->rank() == 0) {
    check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
    std::memcpy(bytes.data_ptr(), &id, sizeof id);
  }
  host->broadcast(bytes, 0, "NCCL's id").wait();
  std::memcpy(&id, bytes.data_ptr(), sizeof id);
  std::unique_ptr<StatusBoard> board;
  {
    const std::lock_guard<std::mutex> lock(mpi_mutex());
    board = make_host_board(MPI_COMM_WORLD);
  }
  return std::make_unique<NcclCommunicator>(std::move(host), options, id, std::move(board));
}

}  // namespace muster
