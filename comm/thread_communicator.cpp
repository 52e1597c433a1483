#include "comm/thread_communicator.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "comm/rank_order_reduce.h"
#include "launch/error.h"

namespace muster {
namespace {

enum class Operation { kAllReduce, kAllGather, kReduceScatter, kBroadcast, kAllToAll, kBarrier };

// One rank's call.
struct Call {
  Operation operation = Operation::kBarrier;
  std::string description;  // operation, name and shape
  ReduceOp op = ReduceOp::kSum;
  at::Tensor output;
  at::Tensor input;
  int root = 0;
  std::vector<int64_t> rows;          // of each rank; all_to_all: sent to each rank
  std::vector<int64_t> receive_rows;  // all_to_all
};

char* row_pointer(const at::Tensor& tensor, int64_t row) {
  const int64_t row_bytes = tensor.size(0) == 0 ? 0 : static_cast<int64_t>(tensor.nbytes()) / tensor.size(0);
  return static_cast<char*>(tensor.data_ptr()) + row * row_bytes;
}

void copy_rows(const at::Tensor& output, int64_t output_row, const at::Tensor& input, int64_t input_row, int64_t rows) {
  if (rows == 0) return;
  char* target = row_pointer(output, output_row);
  const char* source = row_pointer(input, input_row);
  const size_t bytes = input.nbytes() / static_cast<size_t>(input.size(0)) * static_cast<size_t>(rows);
  if (target != source) std::memcpy(target, source, bytes);
}

// A collective that gathers its ranks' calls; the last rank to come carries it out for all.
struct Slot {
  explicit Slot(int size) : calls(static_cast<size_t>(size)), present(static_cast<size_t>(size), false) {}
  std::vector<Call> calls;
  std::vector<bool> present;
  int arrived = 0;
  bool done = false;
};

// Calls that differ between ranks are undefined by contract, but must not corrupt a test's memory.
std::string difference(const std::vector<Call>& calls) {
  for (size_t r = 1; r < calls.size(); ++r) {
    const Call& a = calls[0];
    const Call& b = calls[r];
    const bool rows_agree = a.operation == Operation::kAllToAll || a.rows == b.rows;
    const bool shapes_agree =
        a.operation == Operation::kBarrier ||
        (a.input.scalar_type() == b.input.scalar_type() &&
         (!a.rows.empty() ? a.input.sizes().slice(1) == b.input.sizes().slice(1) : a.input.sizes() == b.input.sizes()));
    if (a.operation != b.operation || a.op != b.op || a.root != b.root || !rows_agree || !shapes_agree) {
      return fmt::format("ranks make different calls: rank 0 makes {}; rank {} makes {}", a.description, r,
                         b.description);
    }
  }
  return "";
}

void all_reduce(const std::vector<Call>& calls) {
  std::vector<const void*> sources;
  for (const Call& call : calls) sources.push_back(call.input.data_ptr());
  const at::Tensor& first = calls[0].input;
  reduce_in_order(first.scalar_type(), calls[0].op, sources, first.data_ptr(), first.numel());
  for (size_t r = 1; r < calls.size(); ++r) std::memcpy(calls[r].input.data_ptr(), first.data_ptr(), first.nbytes());
}

void all_gather(const std::vector<Call>& calls) {
  for (const Call& receiver : calls) {
    int64_t row = 0;
    for (size_t s = 0; s < calls.size(); ++s) {
      copy_rows(receiver.output, row, calls[s].input, 0, receiver.rows[s]);
      row += receiver.rows[s];
    }
  }
}

void reduce_scatter(const std::vector<Call>& calls) {
  int64_t row = 0;
  for (size_t r = 0; r < calls.size(); ++r) {
    std::vector<const void*> sources;
    for (const Call& call : calls) sources.push_back(row_pointer(call.input, row));
    const at::Tensor& output = calls[r].output;
    reduce_in_order(output.scalar_type(), ReduceOp::kSum, sources, output.data_ptr(), output.numel());
    row += calls[r].rows[r];
  }
}

void broadcast(const std::vector<Call>& calls) {
  const at::Tensor& source = calls[static_cast<size_t>(calls[0].root)].input;
  for (const Call& call : calls) {
    if (call.input.data_ptr() != source.data_ptr()) {
      std::memcpy(call.input.data_ptr(), source.data_ptr(), source.nbytes());
    }
  }
}

void all_to_all(const std::vector<Call>& calls) {
  std::vector<int64_t> sent(calls.size(), 0);
  for (size_t receiver = 0; receiver < calls.size(); ++receiver) {
    int64_t received = 0;
    for (size_t sender = 0; sender < calls.size(); ++sender) {
      const int64_t rows = calls[sender].rows[receiver];
      if (rows != calls[receiver].receive_rows[sender]) {
        throw CommError(fmt::format("{} on rank {}: rank {} sends {} rows where {} are expected",
                                    calls[receiver].description, receiver, sender, rows,
                                    calls[receiver].receive_rows[sender]));
      }
      copy_rows(calls[receiver].output, received, calls[sender].input, sent[sender], rows);
      received += rows;
      sent[sender] += rows;
    }
  }
}

void carry_out(const std::vector<Call>& calls) {
  const std::string problem = difference(calls);
  if (!problem.empty()) throw CommError(problem);
  switch (calls[0].operation) {
    case Operation::kAllReduce:
      return all_reduce(calls);
    case Operation::kAllGather:
      return all_gather(calls);
    case Operation::kReduceScatter:
      return reduce_scatter(calls);
    case Operation::kBroadcast:
      return broadcast(calls);
    case Operation::kAllToAll:
      return all_to_all(calls);
    case Operation::kBarrier:
      return;
  }
}

// Where the ranks meet. Safe from any thread.
class Hub {
 public:
  explicit Hub(int size) : size_(size), left_(static_cast<size_t>(size), false) {}

  std::shared_ptr<Slot> join(int rank, int64_t number, Call call) {
    const std::lock_guard<std::mutex> lock(mutex_);
    throw_if_failed();
    std::shared_ptr<Slot>& entry = slots_[number];
    if (!entry) entry = std::make_shared<Slot>(size_);
    const std::shared_ptr<Slot> slot = entry;
    slot->calls[static_cast<size_t>(rank)] = std::move(call);
    slot->present[static_cast<size_t>(rank)] = true;
    if (++slot->arrived == size_) {
      slots_.erase(number);
      finish(*slot);
    }
    return slot;
  }

  bool test(const Slot& slot) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!slot.done) throw_if_failed();
    return slot.done;
  }

  void wait(int rank, const Slot& slot, double timeout_s) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto over = [&] { return slot.done || !failure_.empty() || a_missing_rank_left(slot); };
    const bool in_time = changed_.wait_for(lock, std::chrono::duration<double>(timeout_s), over);
    if (slot.done) return;
    throw_if_failed();
    const Call& call = slot.calls[static_cast<size_t>(rank)];
    fail_locked(fmt::format("rank {} waited {:.1f} s for {}: {} not called it", rank, timeout_s, call.description,
                            missing(slot, in_time)));
    throw_if_failed();
  }

  void fail(const std::string& reason) {
    const std::lock_guard<std::mutex> lock(mutex_);
    fail_locked(reason);
  }

  void leave(int rank) {
    const std::lock_guard<std::mutex> lock(mutex_);
    left_[static_cast<size_t>(rank)] = true;
    changed_.notify_all();
  }

 private:
  void finish(Slot& slot) {
    try {
      carry_out(slot.calls);
      slot.done = true;
      changed_.notify_all();
    } catch (const std::exception& error) {
      fail_locked(error.what());
      throw;
    }
  }

  void fail_locked(const std::string& reason) {
    if (failure_.empty()) failure_ = reason;
    changed_.notify_all();
  }

  void throw_if_failed() const {
    if (!failure_.empty()) throw CommError(failure_);
  }

  bool a_missing_rank_left(const Slot& slot) const {
    for (size_t r = 0; r < left_.size(); ++r) {
      if (left_[r] && !slot.present[r]) return true;
    }
    return false;
  }

  std::string missing(const Slot& slot, bool only_left) const {
    std::vector<size_t> ranks;
    for (size_t r = 0; r < left_.size(); ++r) {
      if (!slot.present[r] && (!only_left || left_[r])) ranks.push_back(r);
    }
    return fmt::format("{} {} {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks, ", "),
                       only_left ? "ended and has" : "has");
  }

  const int size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, std::shared_ptr<Slot>> slots_;
  std::vector<bool> left_;
  std::string failure_;
};

class ThreadWork final : public Work::State {
 public:
  ThreadWork(std::shared_ptr<Hub> hub, int rank, std::shared_ptr<Slot> slot, double timeout_s)
      : hub_(std::move(hub)), rank_(rank), slot_(std::move(slot)), timeout_s_(timeout_s) {}
  void wait() override { hub_->wait(rank_, *slot_, timeout_s_); }
  bool test() override { return hub_->test(*slot_); }

 private:
  std::shared_ptr<Hub> hub_;
  int rank_;
  std::shared_ptr<Slot> slot_;
  double timeout_s_;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(int rank, int size, bool checked, double timeout_s, std::shared_ptr<Hub> hub)
      : Communicator(rank, size, checked), timeout_s_(timeout_s), hub_(std::move(hub)) {}

  void poll() override {}
  [[noreturn]] void abort(int, const std::string& reason) override {
    hub_->fail(reason);
    throw CommError(reason);
  }
  void set_timeout(double seconds) override { timeout_s_ = seconds; }

 private:
  Work join(Call call) {
    return Work(std::make_unique<ThreadWork>(hub_, rank(), hub_->join(rank(), joined_++, std::move(call)), timeout_s_));
  }
  Work do_all_reduce(const at::Tensor& tensor, ReduceOp op, const std::string&) override {
    return join({Operation::kAllReduce, description(), op, tensor, tensor, 0, {}, {}});
  }
  Work do_all_gather(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                     const std::string&) override {
    return join({Operation::kAllGather, description(), ReduceOp::kSum, output, input, 0, rows, {}});
  }
  Work do_reduce_scatter(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                         const std::string&) override {
    return join({Operation::kReduceScatter, description(), ReduceOp::kSum, output, input, 0, rows, {}});
  }
  Work do_broadcast(const at::Tensor& tensor, int root, const std::string&) override {
    return join({Operation::kBroadcast, description(), ReduceOp::kSum, tensor, tensor, root, {}, {}});
  }
  Work do_all_to_all(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& send_rows,
                     const std::vector<int64_t>& receive_rows, const std::string&) override {
    return join({Operation::kAllToAll, description(), ReduceOp::kSum, output, input, 0, send_rows, receive_rows});
  }
  void do_barrier(const std::string&) override {
    join({Operation::kBarrier, description(), ReduceOp::kSum, {}, {}, 0, {}, {}}).wait();
  }

  double timeout_s_;
  int64_t joined_ = 0;  // checked mode joins more often than sequence() counts
  std::shared_ptr<Hub> hub_;
};

std::vector<std::unique_ptr<Communicator>> communicators_of(const std::shared_ptr<Hub>& hub, int size, bool checked,
                                                            double timeout_s) {
  std::vector<std::unique_ptr<Communicator>> communicators;
  for (int r = 0; r < size; ++r) {
    communicators.push_back(std::make_unique<ThreadCommunicator>(r, size, checked, timeout_s, hub));
  }
  return communicators;
}

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_thread_communicators(int size, bool checked, double timeout_s) {
  return communicators_of(std::make_shared<Hub>(size), size, checked, timeout_s);
}

void run_ranks(int size, const std::function<void(Communicator&)>& body) {
  const auto hub = std::make_shared<Hub>(size);
  const auto communicators = communicators_of(hub, size, /*checked=*/true, /*timeout_s=*/60);
  std::mutex mutex;
  std::exception_ptr first_error;
  const auto play = [&](Communicator& communicator) {
    at::set_num_threads(1);
    try {
      body(communicator);
    } catch (const std::exception& error) {
      {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!first_error) first_error = std::current_exception();
      }
      hub->fail(fmt::format("rank {} failed: {}", communicator.rank(), error.what()));
    }
    hub->leave(communicator.rank());
  };
  // A thread's count of intra-op threads also becomes that of threads made later.
  const int threads_before = at::get_num_threads();
  std::vector<std::thread> threads;
  for (const auto& communicator : communicators) threads.emplace_back(play, std::ref(*communicator));
  for (std::thread& thread : threads) thread.join();
  at::set_num_threads(threads_before);
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace muster
