// How a process comes to life: MPI by RAII. Knows no tensors.
#pragma once

#include <string>

namespace muster {

// One per process, made first thing in main() and destroyed last. Under mpirun or srun it initialises MPI
// (MPI_THREAD_SERIALIZED); without a launcher it is a world of one and MPI is never started, which saves its start-up.
// The destructor finalises MPI; during an exception that leaves peers behind, call abort() instead.
class Process {
 public:
  // Sets MKL_CBWR (bits that do not depend on tile heights: see the contract of bits in README) unless the environment
  // already does; must therefore run before the first tensor operation. Freed memory stays with the process, for the
  // next step. Ends the process with one line and exit code 2
  // where ranks were started that cannot form a job.
  Process(int* argc, char*** argv);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  int rank() const { return rank_; }
  int world_size() const { return world_size_; }
  // Rank and number of ranks on this host.
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }
  bool has_mpi() const { return has_mpi_; }

  // Ends every rank of the job with this code, now.
  [[noreturn]] void abort(int code);

 private:
  int rank_ = 0;
  int world_size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  bool has_mpi_ = false;
};

// Name and version of the MPI library that is loaded: "Open MPI v4.1.4".
std::string mpi_library();

}  // namespace muster
