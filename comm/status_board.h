// What each rank of a host is doing, in memory the ranks share: written beside the collectives, so that a rank which
// waits in vain can name the one that lags.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace muster {

// Plain bytes of a fixed size: it is read by other processes. Texts are cut to fit and end with 0.
struct RankStatus {
  int64_t pid = 0;
  int64_t entered = 0;       // number of the last collective this rank has called
  int64_t oldest = 0;        // number of its oldest unfinished collective; 0: none
  int64_t bytes = 0;         // of that collective
  double timeout_s = 0;      // of that collective
  int64_t progress = 0;      // grows with each phase and step
  int64_t step = 0;          // last finished training step
  double phase_limit_s = 0;  // 0: the phase may take any time
  char operation[96] = {};   // of the oldest unfinished collective, else of the last entered
  char phase[32] = {};

  void set_operation(const std::string& text);
  void set_phase(const std::string& text);
};
static_assert(sizeof(RankStatus) % sizeof(uint64_t) == 0, "copied in words");

class StatusBoard {
 public:
  // A board for these ranks of the job, on a file of size_for(ranks.size()) zero bytes, or in private memory (fd -1).
  // Does not own fd. Throws DataError if the memory cannot be mapped.
  explicit StatusBoard(std::vector<int> ranks, int fd = -1);
  ~StatusBoard();
  StatusBoard(const StatusBoard&) = delete;
  StatusBoard& operator=(const StatusBoard&) = delete;

  static size_t size_for(size_t ranks);
  const std::vector<int>& ranks() const { return ranks_; }

  // One writer at a time for each rank; readers never block and never make a writer wait.
  void write(size_t slot, const RankStatus& status);
  RankStatus read(size_t slot) const;

  // "I am running", to be called every second or so.
  void beat(size_t slot);
  double seconds_since_beat(size_t slot) const;

  size_t slot_of(int rank) const;

 private:
  struct Slot;
  std::vector<int> ranks_;
  Slot* slots_;
};

}  // namespace muster
