// Threads that work on tasks in parallel and give the results back in order.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

namespace muster {

// push() and pop() belong to one thread. A task's exception leaves pop(). Destroyed early, the tasks not yet begun are
// dropped.
template <typename Result>
class OrderedWorkers {
 public:
  explicit OrderedWorkers(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
  }
  ~OrderedWorkers() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  OrderedWorkers(const OrderedWorkers&) = delete;
  OrderedWorkers& operator=(const OrderedWorkers&) = delete;

  void push(std::function<Result()> task) {
    std::packaged_task<Result()> packaged(std::move(task));
    results_.push_back(packaged.get_future());
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(packaged));
    }
    changed_.notify_one();
  }

  // Pushed and not yet popped.
  size_t pending() const { return results_.size(); }

  // Waits for the oldest result.
  Result pop() {
    std::future<Result> oldest = std::move(results_.front());
    results_.pop_front();
    return oldest.get();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (stopping_) return;
      std::packaged_task<Result()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::deque<std::packaged_task<Result()>> tasks_;
  std::deque<std::future<Result>> results_;
  std::vector<std::thread> threads_;
};

}  // namespace muster
