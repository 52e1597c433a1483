// Collectives that go on while this thread computes: MPI moves nothing unless somebody asks it to.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "comm/communicator.h"

namespace muster {

// Polls the communicator every millisecond on a thread of its own, from the constructor to the destructor. In a world
// of one there is no thread. A peer that is lost meanwhile is reported by the next call on the communicator, as ever.
class BackgroundPoll {
 public:
  // The communicator must outlive it.
  explicit BackgroundPoll(Communicator& communicator);
  ~BackgroundPoll();
  BackgroundPoll(const BackgroundPoll&) = delete;
  BackgroundPoll& operator=(const BackgroundPoll&) = delete;

 private:
  void run();

  Communicator& communicator_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace muster
