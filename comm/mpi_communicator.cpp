#include "comm/mpi_communicator.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <numeric>

#include "comm/host_board.h"
#include "comm/mpi_progress.h"
#include "comm/rank_order_reduce.h"
#include "comm/tensor_bytes.h"
#include "comm/traffic.h"
#include "comm/watchdog.h"
#include "launch/error.h"
#include "launch/log.h"

namespace muster {
namespace {

// Rows of each rank, and where they begin, as MPI wants them.
struct Cut {
  explicit Cut(const std::vector<int64_t>& rows) {
    int64_t begin = 0;
    if (std::accumulate(rows.begin(), rows.end(), int64_t{0}) > INT32_MAX) {
      throw CommError("a collective has more than 2147483647 rows; give it fewer, longer rows");
    }
    for (const int64_t n : rows) {
      counts.push_back(static_cast<int>(n));
      begins.push_back(static_cast<int>(begin));
      begin += n;
    }
  }
  std::vector<int> counts;
  std::vector<int> begins;
};

at::Tensor scratch(int64_t bytes) {
  return at::empty({bytes}, at::kByte);
}

class MpiWork final : public Work::State {
 public:
  MpiWork(std::shared_ptr<MpiProgress> progress, std::vector<std::shared_ptr<MpiOperation>> operations)
      : progress_(std::move(progress)), operations_(std::move(operations)) {}
  void wait() override {
    for (const auto& operation : operations_) progress_->wait(*operation);
  }
  bool test() override {
    return std::all_of(operations_.begin(), operations_.end(),
                       [this](const auto& operation) { return progress_->test(*operation); });
  }
  TraceClock::time_point finished_at() const override {
    TraceClock::time_point last;
    for (const auto& operation : operations_) last = std::max(last, operation->finished_at);
    return last;
  }

 private:
  std::shared_ptr<MpiProgress> progress_;
  std::vector<std::shared_ptr<MpiOperation>> operations_;
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(int rank, int size, const MpiOptions& options, std::unique_ptr<StatusBoard> board);
  ~MpiCommunicator() override;

  void poll() override { progress_->poll(); }
  [[noreturn]] void abort(int code, const std::string& reason) override;
  void set_timeout(double seconds) override { watchdog_->set_timeout(seconds); }
  void set_phase(const std::string& phase, double deadline_s) override { watchdog_->set_phase(phase, deadline_s); }
  void step_done(int64_t step) override { watchdog_->step_done(step); }

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

  std::shared_ptr<MpiOperation> operation(std::vector<at::Tensor> tensors, int64_t bytes) const;
  Work started(std::vector<std::shared_ptr<MpiOperation>> operations);
  std::shared_ptr<MpiOperation> gather_and_sum(const at::Tensor& tensor, ReduceOp op, char* data, int64_t count);
  std::shared_ptr<MpiOperation> scatter_and_gather(const at::Tensor& tensor, ReduceOp op, char* data, int64_t count);
  void exchange_and_reduce(MpiOperation& operation, at::ScalarType dtype, ReduceOp op, const char* input, char* output,
                           const std::vector<int64_t>& rows, int64_t row_bytes, int64_t row_elements) const;

  std::unique_ptr<Watchdog> watchdog_;
  std::shared_ptr<MpiProgress> progress_;
};

MpiCommunicator::MpiCommunicator(int rank, int size, const MpiOptions& options, std::unique_ptr<StatusBoard> board)
    : Communicator(rank, size, options.checked) {
  WatchdogOptions watch;
  watch.rank = rank;
  watch.world_size = size;
  watch.first_timeout_s = options.first_timeout_s;
  watch.timeout_s = options.timeout_s;
  watch.tick_s = options.tick_s;
  watchdog_ = std::make_unique<Watchdog>(watch, std::move(board));
  progress_ = std::make_shared<MpiProgress>(*watchdog_);
}

MpiCommunicator::~MpiCommunicator() {
  if (std::uncaught_exceptions() == 0 && progress_->is_clean()) {
    progress_->free_communicators();
  } else {
    // MPI may still write into the tensors in flight: they stay until the job has been aborted.
    new std::shared_ptr<MpiProgress>(progress_);
  }
}

void MpiCommunicator::abort(int code, const std::string& reason) {
  log_error(reason);
  std::fflush(nullptr);
  MPI_Abort(MPI_COMM_WORLD, code);  // without the mutex, which a thread that waits for ever may hold
  _exit(code);
}

std::shared_ptr<MpiOperation> MpiCommunicator::operation(std::vector<at::Tensor> tensors, int64_t bytes) const {
  auto operation = std::make_shared<MpiOperation>();
  operation->description = description();
  operation->sequence = sequence();
  operation->bytes = bytes;
  operation->tensors = std::move(tensors);
  return operation;
}

Work MpiCommunicator::started(std::vector<std::shared_ptr<MpiOperation>> operations) {
  for (const auto& operation : operations) progress_->start(operation);
  return Work(std::make_unique<MpiWork>(progress_, std::move(operations)));
}

// Sends each rank its rows of `input` and folds what the others sent of this rank's rows into `output`.
void MpiCommunicator::exchange_and_reduce(MpiOperation& operation, at::ScalarType dtype, ReduceOp op, const char* input,
                                          char* output, const std::vector<int64_t>& rows, int64_t row_bytes,
                                          int64_t row_elements) const {
  const auto me = static_cast<size_t>(rank());
  const int64_t my_rows = rows[me];
  std::vector<int64_t> to_receive(rows.size(), my_rows);
  std::vector<const void*> parts;
  const at::Tensor received = scratch((size() - 1) * my_rows * row_bytes);
  to_receive[me] = 0;
  Cut send(rows);
  const char* own_part = input + send.begins[me] * row_bytes;
  for (int r = 0, place = 0; r < size(); ++r) {
    parts.push_back(r == rank() ? own_part : bytes_at(received, place++ * my_rows * row_bytes));
  }
  send.counts[me] = 0;
  operation.tensors.push_back(received);
  operation.start = [=, receive = Cut(to_receive)](MpiOperation& started, MPI_Comm comm) {
    const MPI_Datatype row = started.add_row_type(row_bytes);
    check_mpi(MPI_Ialltoallv(input, send.counts.data(), send.begins.data(), row, received.data_ptr(),
                             receive.counts.data(), receive.begins.data(), row, comm, &started.requests.emplace_back()),
              "MPI_Ialltoallv");
  };
  operation.after = [=] { reduce_in_order(dtype, op, parts, output, my_rows * row_elements); };
}

std::shared_ptr<MpiOperation> MpiCommunicator::gather_and_sum(const at::Tensor& tensor, ReduceOp op, char* data,
                                                              int64_t count) {
  const auto element_bytes = static_cast<int64_t>(tensor.element_size());
  const int64_t bytes = count * element_bytes;
  const at::Tensor gathered = scratch(size() * bytes);
  const auto dtype = tensor.scalar_type();
  std::vector<const void*> parts;
  for (int r = 0; r < size(); ++r) parts.push_back(bytes_at(gathered, r * bytes));
  auto result = operation({tensor, gathered}, bytes);
  result->start = [=](MpiOperation& started, MPI_Comm comm) {
    check_mpi(MPI_Iallgather(data, static_cast<int>(bytes), MPI_BYTE, gathered.data_ptr(), static_cast<int>(bytes),
                             MPI_BYTE, comm, &started.requests.emplace_back()),
              "MPI_Iallgather");
  };
  result->after = [=] { reduce_in_order(dtype, op, parts, data, count); };
  return result;
}

std::shared_ptr<MpiOperation> MpiCommunicator::scatter_and_gather(const at::Tensor& tensor, ReduceOp op, char* data,
                                                                  int64_t count) {
  const auto element_bytes = static_cast<int64_t>(tensor.element_size());
  const std::vector<int64_t> pieces = split_rows(count, size());
  auto result = operation({tensor}, count * element_bytes);
  char* own_piece = data + Cut(pieces).begins[static_cast<size_t>(rank())] * element_bytes;
  exchange_and_reduce(*result, tensor.scalar_type(), op, data, own_piece, pieces, element_bytes, 1);
  result->start_second = [=, cut = Cut(pieces)](MpiOperation& started, MPI_Comm comm) {
    check_mpi(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, cut.counts.data(), cut.begins.data(),
                              started.types.back(), comm, &started.requests.emplace_back()),
              "MPI_Iallgatherv");
  };
  return result;
}

Work MpiCommunicator::do_all_reduce(const at::Tensor& tensor, ReduceOp op, const std::string&) {
  const auto element_bytes = static_cast<int64_t>(tensor.element_size());
  std::vector<std::shared_ptr<MpiOperation>> operations;
  for (int64_t begin = 0; begin < tensor.numel(); begin += kLargestPiece) {
    const int64_t count = std::min(kLargestPiece, tensor.numel() - begin);
    char* data = bytes_at(tensor, begin * element_bytes);
    const bool small = count * element_bytes * size() <= kGatherBytes;
    operations.push_back(small ? gather_and_sum(tensor, op, data, count) : scatter_and_gather(tensor, op, data, count));
  }
  return started(std::move(operations));
}

Work MpiCommunicator::do_all_gather(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                                    const std::string&) {
  auto result = operation({output, input}, static_cast<int64_t>(input.nbytes()));
  const int64_t row_bytes = row_bytes_of(output);
  const Cut cut(rows);
  char* own_slice = bytes_at(output, cut.begins[static_cast<size_t>(rank())] * row_bytes);
  if (input.numel() > 0 && input.data_ptr() != own_slice) std::memcpy(own_slice, input.data_ptr(), input.nbytes());
  result->start = [=](MpiOperation& started, MPI_Comm comm) {
    const MPI_Datatype row = started.add_row_type(row_bytes);
    check_mpi(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, output.data_ptr(), cut.counts.data(),
                              cut.begins.data(), row, comm, &started.requests.emplace_back()),
              "MPI_Iallgatherv");
  };
  return started({std::move(result)});
}

Work MpiCommunicator::do_reduce_scatter(const at::Tensor& output, const at::Tensor& input,
                                        const std::vector<int64_t>& rows, const std::string&) {
  auto result = operation({output, input}, static_cast<int64_t>(input.nbytes()));
  const int64_t row_bytes = row_bytes_of(input);
  exchange_and_reduce(*result, input.scalar_type(), ReduceOp::kSum, bytes_at(input, 0), bytes_at(output, 0), rows,
                      row_bytes, row_bytes / static_cast<int64_t>(input.element_size()));
  return started({std::move(result)});
}

Work MpiCommunicator::do_broadcast(const at::Tensor& tensor, int root, const std::string&) {
  std::vector<std::shared_ptr<MpiOperation>> operations;
  const auto bytes = static_cast<int64_t>(tensor.nbytes());
  for (int64_t begin = 0; begin < bytes; begin += kLargestPiece) {
    const auto count = static_cast<int>(std::min(kLargestPiece, bytes - begin));
    char* data = bytes_at(tensor, begin);
    operations.push_back(operation({tensor}, count));
    operations.back()->start = [=](MpiOperation& started, MPI_Comm comm) {
      check_mpi(MPI_Ibcast(data, count, MPI_BYTE, root, comm, &started.requests.emplace_back()), "MPI_Ibcast");
    };
  }
  return started(std::move(operations));
}

Work MpiCommunicator::do_all_to_all(const at::Tensor& output, const at::Tensor& input,
                                    const std::vector<int64_t>& send_rows, const std::vector<int64_t>& receive_rows,
                                    const std::string&) {
  auto result = operation({output, input}, static_cast<int64_t>(input.nbytes()));
  const int64_t row_bytes = row_bytes_of(input);
  result->start = [=, send = Cut(send_rows), receive = Cut(receive_rows)](MpiOperation& started, MPI_Comm comm) {
    const MPI_Datatype row = started.add_row_type(row_bytes);
    check_mpi(MPI_Ialltoallv(input.data_ptr(), send.counts.data(), send.begins.data(), row, output.data_ptr(),
                             receive.counts.data(), receive.begins.data(), row, comm, &started.requests.emplace_back()),
              "MPI_Ialltoallv");
  };
  return started({std::move(result)});
}

void MpiCommunicator::do_barrier(const std::string&) {
  auto result = operation({}, 0);
  result->start = [](MpiOperation& started, MPI_Comm comm) {
    check_mpi(MPI_Ibarrier(comm, &started.requests.emplace_back()), "MPI_Ibarrier");
  };
  started({std::move(result)}).wait();
}

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(const MpiOptions& options) {
  int rank = 0;
  int size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return std::make_unique<MpiCommunicator>(rank, size, options, make_host_board(MPI_COMM_WORLD));
}

}  // namespace muster
