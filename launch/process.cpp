#include "launch/process.h"

#include <fcntl.h>
#include <malloc.h>
#include <mpi.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <initializer_list>

#include "launch/exit_codes.h"

namespace muster {
namespace {

// MKL's strict reproducible mode makes a row of a matrix product independent of how many rows are computed with it.
void fix_matrix_product_bits() {
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool avx2 = __builtin_cpu_supports("avx2");
  const char* mode = avx512 ? "AVX512,STRICT" : avx2 ? "AVX2,STRICT" : "COMPATIBLE";
  setenv("MKL_CBWR", mode, /*overwrite=*/0);
}

// A step frees all its activations, and the next one takes as much again. Memory that is kept needs no fresh pages,
// which the kernel would have to clear.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);  // never
  mallopt(M_TOP_PAD, 64 << 20);
}

// mpirun sets the first, `srun --mpi=pmix` the second, other PMI launchers the last.
bool launched_with_peers() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    if (std::getenv(variable) != nullptr) return true;
  }
  return false;
}

// srun without --mpi=pmix starts ranks that do not know of each other: each would be a world of one, and all would
// write the same files. (mpirun starts its own helpers through srun: its ranks are told apart by
// launched_with_peers().)
bool is_a_lonely_copy() {
  const char* copies = std::getenv("SLURM_STEP_NUM_TASKS");
  return copies != nullptr && std::atoi(copies) > 1;
}

// A descriptor 0, 1 or 2 that is closed would be given to the first file opened, and output meant for people would
// land in a checkpoint.
void occupy_standard_streams() {
  int descriptor = open("/dev/null", O_RDWR);
  while (descriptor >= 0 && descriptor <= STDERR_FILENO) descriptor = open("/dev/null", O_RDWR);
  if (descriptor >= 0) close(descriptor);
}

[[noreturn]] void refuse(const char* line) {
  std::fprintf(stderr, "muster: %s\n", line);
  std::exit(static_cast<int>(ExitCode::kBadInput));
}

}  // namespace

Process::Process(int* argc, char*** argv) {
  occupy_standard_streams();
  fix_matrix_product_bits();
  keep_freed_memory();
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit (ulimit -f) is an error of write(), told like a full disk
  if (!launched_with_peers()) {
    if (is_a_lonely_copy()) refuse("srun started several ranks that cannot find each other; use srun --mpi=pmix");
    return;
  }
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided);  // its errors end the process with MPI's own message
  has_mpi_ = true;
  if (provided < MPI_THREAD_SERIALIZED) {
    MPI_Finalize();
    refuse("this MPI library grants no MPI_THREAD_SERIALIZED; use one built with thread support");
  }
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &world_size_);
  MPI_Comm host = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host);
  MPI_Comm_rank(host, &local_rank_);
  MPI_Comm_size(host, &local_size_);
  MPI_Comm_free(&host);
}

Process::~Process() {
  if (!has_mpi_) return;
  if (world_size_ > 1 && std::uncaught_exceptions() > 0) {
    std::fprintf(stderr, "rank %d leaves on an exception: ending the job\n", rank_);
    abort(static_cast<int>(ExitCode::kBug));
  }
  MPI_Finalize();
}

std::string mpi_library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);  // may be called before MPI_Init
  const std::string version(text);
  return version.substr(0, version.find_first_of(",\n"));
}

void Process::abort(int code) {
  std::fflush(nullptr);
  if (has_mpi_) MPI_Abort(MPI_COMM_WORLD, code);
  _exit(code);
}

}  // namespace muster
