#include "comm/host_board.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "launch/log.h"

namespace muster {
namespace {

constexpr int kNameBytes = 64;

// Creates the memory and writes its name; -1 if the host grants none.
int create_shared_memory(char (&name)[kNameBytes], size_t bytes) {
  const auto now = static_cast<long long>(std::chrono::system_clock::now().time_since_epoch().count());
  std::snprintf(name, sizeof name, "/muster-%d-%llx", static_cast<int>(getpid()), now);
  const int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (fd >= 0 && ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    close(fd);
    shm_unlink(name);
    return -1;
  }
  return fd;
}

}  // namespace

std::unique_ptr<StatusBoard> make_host_board(MPI_Comm world) {
  int world_rank = 0;
  MPI_Comm_rank(world, &world_rank);
  MPI_Comm host = MPI_COMM_NULL;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, world_rank, MPI_INFO_NULL, &host);
  int rank = 0;
  int size = 0;
  MPI_Comm_rank(host, &rank);
  MPI_Comm_size(host, &size);
  std::vector<int> ranks(static_cast<size_t>(size));
  MPI_Allgather(&world_rank, 1, MPI_INT, ranks.data(), 1, MPI_INT, host);

  char name[kNameBytes] = "";
  int fd = rank == 0 ? create_shared_memory(name, StatusBoard::size_for(ranks.size())) : -1;
  MPI_Bcast(name, kNameBytes, MPI_CHAR, 0, host);
  if (rank != 0) fd = shm_open(name, O_RDWR, 0600);
  int everyone = fd >= 0 ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &everyone, 1, MPI_INT, MPI_MIN, host);
  if (rank == 0 && fd >= 0) shm_unlink(name);
  MPI_Comm_free(&host);

  if (everyone == 0) {
    if (rank == 0) log_warning("no shared memory on this host: a rank that lags cannot be named");
    if (fd >= 0) close(fd);
    return std::make_unique<StatusBoard>(std::vector<int>{world_rank});
  }
  auto board = std::make_unique<StatusBoard>(ranks, fd);
  close(fd);
  return board;
}

}  // namespace muster
