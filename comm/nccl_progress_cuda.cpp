#include "comm/nccl_progress_cuda.h"

#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>

#include <chrono>
#include <exception>

#include "comm/back_off.h"
#include "launch/error.h"
#include "launch/log.h"
#include "launch/signals.h"

namespace muster {

void check_nccl(ncclResult_t result, const char* call, ncclComm_t comm) {
  if (result == ncclSuccess || result == ncclInProgress) return;
  throw CommError(fmt::format("{} failed: {}: {}", call, ncclGetErrorString(result), ncclGetLastError(comm)));
}

NcclProgress::NcclProgress(const ncclUniqueId& id, at::Device device, const WatchdogOptions& watch,
                           std::unique_ptr<StatusBoard> board)
    : device_(device),
      period_s_(watch.tick_s / 4),
      watchdog_(watch, std::move(board)),
      stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())) {
  connect(id, watch);
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

void NcclProgress::connect(const ncclUniqueId& id, const WatchdogOptions& watch) {
  const c10::cuda::CUDAGuard on_device(device_);
  NcclOperation start;
  start.description = "NCCL's start";
  start.timeout_s = watch.first_timeout_s;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  check_nccl(ncclCommInitRankConfig(&comm_, watch.world_size, id, watch.rank, &config), "ncclCommInitRankConfig");
  settle(start);
}

NcclProgress::~NcclProgress() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  stop_changed_.notify_all();
  thread_.join();
  if (std::uncaught_exceptions() == 0 && failure_.empty()) {
    try {
      drain();
      return;
    } catch (const std::exception& error) {
      log_error(error.what());
    }
  }
  ncclCommAbort(comm_);
  // The GPU may still write into the tensors in flight: they stay until the process has ended.
  new std::deque<std::shared_ptr<NcclOperation>>(std::move(in_flight_));
}

void NcclProgress::drain() {
  NcclOperation end;
  end.description = "NCCL's end";
  end.timeout_s = watchdog_.call_timeout();
  BackOff back_off;
  for (poll(); !in_flight_.empty(); poll()) {
    const NcclOperation& oldest = *in_flight_.front();
    if (back_off.waited_s() > oldest.timeout_s) {
      fail(watchdog_.unfinished(oldest.sequence, oldest.description, oldest.bytes, back_off.waited_s()));
    }
    back_off.pause();
  }
  const c10::cuda::CUDAGuard on_device(device_);
  check_nccl(ncclCommFinalize(comm_), "ncclCommFinalize", comm_);
  settle(end);
  check_nccl(ncclCommDestroy(comm_), "ncclCommDestroy");
}

void NcclProgress::throw_if_failed() const {
  if (!failure_.empty()) throw CommError(failure_);
}

void NcclProgress::fail(const std::string& reason) {
  if (failure_.empty()) failure_ = reason;
  throw CommError(failure_);
}

void NcclProgress::start(const std::shared_ptr<NcclOperation>& operation, const std::function<void()>& body) {
  const c10::cuda::CUDAGuard on_device(device_);
  at::cuda::CUDAEvent given;
  given.record(c10::cuda::getCurrentCUDAStream(device_.index()));
  given.block(stream_);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    throw_if_failed();
    operation->timeout_s = watchdog_.call_timeout();
    watchdog_.entered(operation->sequence, operation->description);
    in_flight_.push_back(operation);
    report_oldest();
  }
  try {
    const c10::cuda::CUDAStreamGuard on_stream(stream_);
    body();
  } catch (const std::exception& error) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failure_.empty()) failure_ = operation->description + ": " + error.what();
    throw;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  operation->done.record(stream_);
  operation->enqueued = true;
}

void NcclProgress::group(const NcclOperation& operation, const std::function<void(ncclComm_t, cudaStream_t)>& calls) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    check_nccl(ncclGroupStart(), "ncclGroupStart", comm_);
    calls(comm_, stream_.stream());
    check_nccl(ncclGroupEnd(), "ncclGroupEnd", comm_);
  }
  settle(operation);
}

void NcclProgress::settle(const NcclOperation& operation) {
  BackOff back_off;
  while (!has_settled(operation, back_off.waited_s())) back_off.pause();
}

// Whether NCCL has put on the stream what it was given.
bool NcclProgress::has_settled(const NcclOperation& operation, double waited_s) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ncclResult_t state = ncclSuccess;
  check_nccl(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError", comm_);
  if (state != ncclSuccess && state != ncclInProgress) fail(failed_line(operation, state));
  if (state == ncclInProgress && waited_s > operation.timeout_s) {
    fail(watchdog_.unfinished(operation.sequence, operation.description, operation.bytes, waited_s));
  }
  return state == ncclSuccess;
}

std::string NcclProgress::failed_line(const NcclOperation& operation, ncclResult_t error) const {
  return fmt::format("{}: call {} {}, {} bytes: NCCL: {}: {}; {}", watchdog_.whereabouts(), operation.sequence,
                     operation.description, operation.bytes, ncclGetErrorString(error), ncclGetLastError(comm_),
                     watchdog_.who_lags(operation.sequence));
}

bool NcclProgress::test(const NcclOperation& operation) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (operation.finished) return true;
  throw_if_failed();
  advance();
  return operation.finished;
}

void NcclProgress::order_current_stream_after(NcclOperation& operation) {
  std::vector<at::Tensor> dropped;  // without the lock
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!operation.finished) throw_if_failed();
  operation.done.block(c10::cuda::getCurrentCUDAStream(device_.index()));
  dropped.swap(operation.tensors);
}

void NcclProgress::poll() {
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (lock.owns_lock() && failure_.empty()) advance();  // else somebody is moving things on at this moment
}

// The stream keeps their order: what is behind an unfinished operation is not finished either.
void NcclProgress::advance() {
  while (!in_flight_.empty() && in_flight_.front()->enqueued && in_flight_.front()->done.query()) {
    NcclOperation& operation = *in_flight_.front();
    operation.tensors.clear();
    operation.finished = true;
    in_flight_.pop_front();
  }
  report_oldest();
}

void NcclProgress::report_oldest() {
  const int64_t oldest = in_flight_.empty() ? 0 : in_flight_.front()->sequence;
  if (oldest == reported_) return;
  reported_ = oldest;
  if (in_flight_.empty()) return watchdog_.waiting_for_nothing();
  const NcclOperation& operation = *in_flight_.front();
  watchdog_.waiting_for(oldest, operation.description, operation.bytes, operation.timeout_s);
}

// The thread: calls leave the list without anybody's wait, and what NCCL meets on the way ends the process.
void NcclProgress::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_changed_.wait_for(lock, std::chrono::duration<double>(period_s_), [this] { return stop_; })) {
    // A call that is being started is in settle(), which throws.
    if (!failure_.empty() || in_flight_.empty() || !in_flight_.back()->enqueued) continue;
    ncclResult_t state = ncclSuccess;
    if (ncclCommGetAsyncError(comm_, &state) == ncclSuccess && state != ncclSuccess && state != ncclInProgress) {
      watchdog_.end(failed_line(*in_flight_.front(), state));
    }
    try {
      advance();
    } catch (const std::exception& error) {
      failure_ = error.what();  // of CUDA; the next call throws it
    }
  }
}

}  // namespace muster
