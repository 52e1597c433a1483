// The NCCL communicator of one rank, its stream, and the collectives in flight on it.
//
// NCCL is never left to block: its communicator is non-blocking, every start is awaited with a deadline, and a thread
// asks for errors of what runs on the GPU (the model is testStreamSynchronize of nccl-tests). Where the GPU itself does
// not answer, the watchdog, which asks nobody, ends the process.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAStream.h>
#include <nccl.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/watchdog.h"

namespace muster {

// Throws CommError with NCCL's own text, unless it is ncclSuccess or ncclInProgress.
void check_nccl(ncclResult_t result, const char* call, ncclComm_t comm = nullptr);

struct NcclOperation {
  std::string description;
  int64_t sequence = 0;
  int64_t bytes = 0;
  double timeout_s = 0;

  std::vector<at::Tensor>
      tensors;  // of the caller: kept until its stream is ordered after `done`, or `done` has passed
  at::cuda::CUDAEvent done;
  bool enqueued = false;  // `done` is on the stream
  bool finished = false;
};

class NcclProgress {
 public:
  // Collective over the ranks that have `id`. Throws CommError at the deadline.
  NcclProgress(const ncclUniqueId& id, at::Device device, const WatchdogOptions& watch,
               std::unique_ptr<StatusBoard> board);
  // Waits for what is in flight; while an exception passes, or after a failure, it aborts that instead.
  ~NcclProgress();
  NcclProgress(const NcclProgress&) = delete;
  NcclProgress& operator=(const NcclProgress&) = delete;

  Watchdog& watchdog() { return watchdog_; }

  // Puts an operation on the stream, after what the current stream has been given: `body` makes its calls with the
  // stream as the current one, so that scratch tensors belong to it and may be dropped at once.
  void start(const std::shared_ptr<NcclOperation>& operation, const std::function<void()>& body);

  // One group of NCCL calls of `operation`, inside start(); returns when they are on the stream. The first group with a
  // peer connects to it, so a missing one is noticed here: CommError at the deadline.
  void group(const NcclOperation& operation, const std::function<void(ncclComm_t, cudaStream_t)>& calls);

  bool test(const NcclOperation& operation);
  void order_current_stream_after(NcclOperation& operation);  // never blocks
  void poll();

 private:
  void connect(const ncclUniqueId& id, const WatchdogOptions& watch);
  void settle(const NcclOperation& operation);
  bool has_settled(const NcclOperation& operation, double waited_s);
  std::string failed_line(const NcclOperation& operation, ncclResult_t error) const;
  void advance();
  void report_oldest();
  void drain();
  void run();
  void throw_if_failed() const;
  [[noreturn]] void fail(const std::string& reason);

  const at::Device device_;
  const double period_s_;
  Watchdog watchdog_;
  const c10::cuda::CUDAStream stream_;

  // Guards NCCL's calls and all below.
  std::mutex mutex_;
  ncclComm_t comm_ = nullptr;
  std::deque<std::shared_ptr<NcclOperation>> in_flight_;
  int64_t reported_ = 0;
  std::string failure_;

  std::condition_variable stop_changed_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace muster
