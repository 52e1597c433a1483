// The started MPI collectives of one communicator, and the only code that moves them on.
//
// Every MPI call of the process is made under one mutex (MPI_THREAD_SERIALIZED). Collectives are started with MPI_I*;
// waiting is test, unlock, back off: it never blocks inside MPI and never spins hot.
#pragma once

#include <ATen/core/Tensor.h>
#include <mpi.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "comm/watchdog.h"
#include "launch/trace.h"

namespace muster {

// One mutex for all MPI calls of this process.
std::mutex& mpi_mutex();

// A collective on its way: requests, then `after` (a local sum), then perhaps a second round of requests.
struct MpiOperation {
  std::string description;
  int64_t sequence = 0;
  int64_t bytes = 0;
  double timeout_s = 0;

  std::vector<at::Tensor> tensors;  // kept alive until the end
  std::vector<MPI_Datatype> types;  // freed at the end
  std::vector<MPI_Request> requests;
  // Start rounds; they append to `requests`. The second one runs on the second communicator, in the order of
  // `sequence`.
  std::function<void(MpiOperation&, MPI_Comm)> start;
  std::function<void()> after;
  std::function<void(MpiOperation&, MPI_Comm)> start_second;
  bool finished = false;
  TraceClock::time_point finished_at;

  // A type of `bytes` bytes: as MPI counts are int, long rows travel as one unit.
  MPI_Datatype add_row_type(int64_t row_bytes);
};

class MpiProgress {
 public:
  // Duplicates MPI_COMM_WORLD twice; collective.
  explicit MpiProgress(Watchdog& watchdog);
  // Call it only when nothing is in flight and no peer is lost: collective. Otherwise leave the object alone.
  void free_communicators();
  bool is_clean();

  void start(const std::shared_ptr<MpiOperation>& operation);
  bool test(const MpiOperation& operation);
  void wait(const MpiOperation& operation);  // CommError at the deadline
  void poll();

 private:
  void advance();
  bool advance_one(MpiOperation& operation, bool& second_round_is_free);
  void report_oldest();
  void throw_if_failed() const;
  [[noreturn]] void fail(const std::string& reason);

  Watchdog& watchdog_;
  MPI_Comm first_ = MPI_COMM_NULL;
  MPI_Comm second_ = MPI_COMM_NULL;
  std::deque<std::shared_ptr<MpiOperation>> in_flight_;
  int64_t reported_ = 0;
  std::string failure_;
};

// Throws CommError with MPI's own text.
void check_mpi(int result, const char* call);

}  // namespace muster
