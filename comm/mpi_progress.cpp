#include "comm/mpi_progress.h"

#include <fmt/format.h>

#include <utility>

#include "comm/back_off.h"
#include "launch/error.h"

namespace muster {
namespace {

MPI_Comm duplicate_world() {
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  return comm;
}

}  // namespace

std::mutex& mpi_mutex() {
  static std::mutex mutex;
  return mutex;
}

void check_mpi(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(result, text, &length);
  throw CommError(fmt::format("{} failed: {}", call, text));
}

MPI_Datatype MpiOperation::add_row_type(int64_t row_bytes) {
  constexpr int64_t kUnit = 4096;
  MPI_Datatype type = MPI_BYTE;
  if (row_bytes <= INT32_MAX) {
    check_mpi(MPI_Type_contiguous(static_cast<int>(row_bytes), MPI_BYTE, &type), "MPI_Type_contiguous");
  } else {
    // Longer than an int can say: whole units and the rest, one after the other.
    MPI_Datatype unit = MPI_BYTE;
    check_mpi(MPI_Type_contiguous(kUnit, MPI_BYTE, &unit), "MPI_Type_contiguous");
    const int lengths[] = {static_cast<int>(row_bytes / kUnit), static_cast<int>(row_bytes % kUnit)};
    const MPI_Aint places[] = {0, row_bytes / kUnit * kUnit};
    const MPI_Datatype parts[] = {unit, MPI_BYTE};
    check_mpi(MPI_Type_create_struct(2, lengths, places, parts, &type), "MPI_Type_create_struct");
    MPI_Type_free(&unit);
  }
  check_mpi(MPI_Type_commit(&type), "MPI_Type_commit");
  types.push_back(type);
  return type;
}

MpiProgress::MpiProgress(Watchdog& watchdog) : watchdog_(watchdog) {
  const std::lock_guard<std::mutex> lock(mpi_mutex());
  first_ = duplicate_world();
  second_ = duplicate_world();
}

bool MpiProgress::is_clean() {
  const std::lock_guard<std::mutex> lock(mpi_mutex());
  return failure_.empty() && in_flight_.empty();
}

void MpiProgress::free_communicators() {
  const std::lock_guard<std::mutex> lock(mpi_mutex());
  MPI_Comm_free(&first_);
  MPI_Comm_free(&second_);
}

void MpiProgress::throw_if_failed() const {
  if (!failure_.empty()) throw CommError(failure_);
}

void MpiProgress::fail(const std::string& reason) {
  if (failure_.empty()) failure_ = reason;
  throw CommError(failure_);
}

void MpiProgress::start(const std::shared_ptr<MpiOperation>& operation) {
  const std::lock_guard<std::mutex> lock(mpi_mutex());
  throw_if_failed();
  operation->timeout_s = watchdog_.call_timeout();
  watchdog_.entered(operation->sequence, operation->description);
  in_flight_.push_back(operation);
  const auto begin = std::exchange(operation->start, nullptr);
  begin(*operation, first_);
  report_oldest();
}

bool MpiProgress::test(const MpiOperation& operation) {
  const std::lock_guard<std::mutex> lock(mpi_mutex());
  if (operation.finished) return true;
  throw_if_failed();
  advance();
  return operation.finished;
}

void MpiProgress::wait(const MpiOperation& operation) {
  BackOff back_off;
  while (!test(operation)) {
    if (back_off.waited_s() > operation.timeout_s) {
      const std::string line =
          watchdog_.unfinished(operation.sequence, operation.description, operation.bytes, back_off.waited_s());
      const std::lock_guard<std::mutex> lock(mpi_mutex());
      fail(line);
    }
    back_off.pause();
  }
}

void MpiProgress::poll() {
  const std::unique_lock<std::mutex> lock(mpi_mutex(), std::try_to_lock);
  if (lock.owns_lock() && failure_.empty()) advance();  // else somebody is moving things on at this moment
}

void MpiProgress::advance() {
  bool second_round_is_free = true;
  for (auto it = in_flight_.begin(); it != in_flight_.end();) {
    it = advance_one(**it, second_round_is_free) ? in_flight_.erase(it) : it + 1;
  }
  report_oldest();
}

// Second rounds start in the order of the calls, as every rank must start the same collectives in the same order on one
// communicator; they have a communicator of their own, as first rounds go on being started meanwhile.
bool MpiProgress::advance_one(MpiOperation& operation, bool& second_round_is_free) {
  int done = 0;
  const int result =
      MPI_Testall(static_cast<int>(operation.requests.size()), operation.requests.data(), &done, MPI_STATUSES_IGNORE);
  if (result != MPI_SUCCESS) {
    failure_ = operation.description;
    check_mpi(result, "MPI_Testall");
  }
  if (done != 0 && operation.after) std::exchange(operation.after, nullptr)();
  if (done != 0 && operation.start_second && second_round_is_free) {
    std::exchange(operation.start_second, nullptr)(operation, second_);
    return false;
  }
  if (operation.start_second) {
    second_round_is_free = false;
    return false;
  }
  if (done == 0) return false;
  for (MPI_Datatype& type : operation.types) MPI_Type_free(&type);
  operation.tensors.clear();
  operation.finished_at = TraceClock::now();
  operation.finished = true;
  return true;
}

void MpiProgress::report_oldest() {
  const int64_t oldest = in_flight_.empty() ? 0 : in_flight_.front()->sequence;
  if (oldest == reported_) return;
  reported_ = oldest;
  if (in_flight_.empty()) return watchdog_.waiting_for_nothing();
  const MpiOperation& operation = *in_flight_.front();
  watchdog_.waiting_for(oldest, operation.description, operation.bytes, operation.timeout_s);
}

}  // namespace muster
