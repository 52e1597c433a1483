// Collectives over the ranks of a job: the contract that local, thread, MPI and NCCL communicators keep.
//
// Every rank makes the same calls in the same order with the same operation, dtype and row shape. A call checks its own
// arguments at the door (std::logic_error naming operation, call name, shape and rank: our bug, which no restart
// mends); what differs between ranks is reported in checked mode (CommError) and is otherwise undefined.
//
// Rows: tensors are cut and joined along dimension 0. Ragged operations take `rows`, the number of rows of each rank,
// the same vector on every rank. A rank may have zero rows.
//
// Tensors must be contiguous, those of a call on one device: the CPU, with NCCL also this rank's GPU, and any device in
// a world of one. Dtypes: float64, float32, float16, bfloat16, int64, int32, uint8; kMax and kMin refuse the 16-bit
// floats, whose sums are accumulated in float32.
//
// Sums are made in rank order by every communicator: the same inputs at the same world size give the same bits.
//
// Threads: a communicator belongs to one thread at a time, except poll() and abort(), which any thread may call.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "launch/trace.h"

namespace muster {

enum class ReduceOp { kSum, kMax, kMin };

// A started collective. It owns its tensors until wait() returns. On CPU, wait() blocks until the result is there; on a
// GPU it orders the current stream after it. Destroying an unfinished Work waits for it, except while an exception
// passes: then the job is ending, and the communicator keeps the tensors as long as somebody may write into them.
class Work {
 public:
  class State {
   public:
    virtual ~State() = default;
    virtual void wait() = 0;  // throws CommError when the peers are lost or the deadline has passed
    virtual bool test() = 0;  // true once finished; makes progress, never blocks
    // When it was seen to be finished; asked after wait() or a true test().
    virtual TraceClock::time_point finished_at() const { return TraceClock::now(); }
  };

  Work() = default;  // already finished
  explicit Work(std::unique_ptr<State> state) : state_(std::move(state)) {}
  Work(Work&&) noexcept = default;
  Work& operator=(Work&& other);
  ~Work();

  void wait();
  bool test();

 private:
  friend class Communicator;
  std::unique_ptr<State> state_;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  // Whether tensors on this device can travel.
  virtual bool takes(at::Device device) const { return device.is_cpu(); }

  // In place: every rank ends with the reduction of all ranks' tensors. `name` appears in errors and time-outs.
  Work all_reduce(const at::Tensor& tensor, ReduceOp op, const std::string& name);

  // output [sum(rows), ...] = the ranks' inputs [rows[rank], ...] in rank order. `input` may be output's own slice.
  Work all_gather(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                  const std::string& name);

  // output [rows[rank], ...] = this rank's rows of the sum over ranks of input [sum(rows), ...].
  // `output` may be input's own slice.
  Work reduce_scatter(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                      const std::string& name);

  // In place: every rank ends with root's tensor.
  Work broadcast(const at::Tensor& tensor, int root, const std::string& name);

  // Sends send_rows[r] rows of input to rank r and receives receive_rows[r] rows from it, in rank order on both sides.
  Work all_to_all(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& send_rows,
                  const std::vector<int64_t>& receive_rows, const std::string& name);

  // Returns once every rank has called it.
  void barrier(const std::string& name);

  // Lets started collectives progress (MPI does not progress by itself). Never blocks.
  virtual void poll() = 0;

  // Ends every rank of the job. The local communicator throws CommError, the thread communicator makes every rank's
  // pending and later calls throw CommError, MPI ends the processes with `code`.
  [[noreturn]] virtual void abort(int code, const std::string& reason) = 0;

  // Deadline of the calls started from now on, in seconds.
  virtual void set_timeout(double seconds) = 0;

  // What this rank does from now on ("training", "evaluation", "saving"): named when a rank lags. Every rank calls it
  // at the same place. deadline_s bounds the whole phase and each call in it; 0 means the deadlines of training steps,
  // which follow from CommConfig and step_done(). Without peers, and between threads, both are ignored.
  virtual void set_phase(const std::string& /*phase*/, double /*deadline_s*/) {}

  // Training step `step` is finished on this rank. From the first one on, the deadline of a call in a training step is
  // max(timeout_s, 5 x the median step) instead of first_timeout_s.
  virtual void step_done(int64_t /*step*/) {}

  // From now on each collective is recorded there: its name and bytes, from its call until it was seen to be finished,
  // and the time that a thread waited for it. The recorder must outlive the calls; null: nothing is recorded.
  void record_to(TraceRecorder* trace) { trace_ = trace; }
  // For what works over this communicator and records beside it; may be null.
  TraceRecorder* trace() const { return trace_; }

  // Bytes this rank has handed to collectives so far (elements x size of each call's input).
  int64_t bytes_started() const { return bytes_started_; }

 protected:
  // `checked`: compare each call over the ranks before it starts.
  Communicator(int rank, int size, bool checked) : rank_(rank), size_(size), checked_(checked) {}

  // Number of the call in progress: the same on every rank that made the same calls.
  int64_t sequence() const { return sequence_; }
  // Operation, name and shape of that call.
  const std::string& description() const { return description_; }

  virtual Work do_all_reduce(const at::Tensor& tensor, ReduceOp op, const std::string& name) = 0;
  virtual Work do_all_gather(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                             const std::string& name) = 0;
  virtual Work do_reduce_scatter(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                                 const std::string& name) = 0;
  virtual Work do_broadcast(const at::Tensor& tensor, int root, const std::string& name) = 0;
  virtual Work do_all_to_all(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& send_rows,
                             const std::vector<int64_t>& receive_rows, const std::string& name) = 0;
  virtual void do_barrier(const std::string& name) = 0;

 private:
  void begin(std::string description, const std::string& name);
  Work record(const char* operation, const std::string& name, int64_t bytes, Work work);
  void compare_over_ranks(const std::string& name);
  void compare_rows_over_ranks(const std::vector<int64_t>& send_rows, const std::vector<int64_t>& receive_rows,
                               const std::string& name);

  int rank_;
  int size_;
  bool checked_;
  int64_t sequence_ = 0;
  std::string description_;
  int64_t bytes_started_ = 0;
  TraceRecorder* trace_ = nullptr;
  TraceClock::time_point began_;  // the call in progress, while it is recorded
};

// rows[r] when `total` rows are cut over `size` ranks as evenly as can be: the first total % size ranks have one more.
std::vector<int64_t> split_rows(int64_t total, int size);

}  // namespace muster
