#include "comm/background_poll.h"

#include <chrono>
#include <exception>

namespace muster {

BackgroundPoll::BackgroundPoll(Communicator& communicator) : communicator_(communicator) {
  if (communicator.size() > 1) thread_ = std::thread([this] { run(); });
}

BackgroundPoll::~BackgroundPoll() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void BackgroundPoll::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopped_.wait_for(lock, std::chrono::milliseconds(1), [this] { return stop_; })) {
    try {
      communicator_.poll();
    } catch (const std::exception&) {
      return;  // whoever waits is told
    }
  }
}

}  // namespace muster
