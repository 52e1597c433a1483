#include "comm/background_poll.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <stdexcept>
#include <string>

#include "launch/error.h"

namespace muster {
namespace {

// Counts polls; the second one fails, if it should.
class PolledCommunicator final : public Communicator {
 public:
  PolledCommunicator(int size, bool fails) : Communicator(0, size, false), fails_(fails) {}

  void poll() override {
    const int polls = ++polls_;
    if (polls == 2) twice_.set_value();
    if (polls == 2 && fails_) throw CommError("a peer is lost");
  }
  [[noreturn]] void abort(int, const std::string& reason) override { throw std::logic_error(reason); }
  void set_timeout(double) override {}

  void wait_for_two() { twice_.get_future().wait(); }
  int polls() const { return polls_; }

 private:
  Work do_all_reduce(const at::Tensor&, ReduceOp, const std::string&) override { return Work(); }
  Work do_all_gather(const at::Tensor&, const at::Tensor&, const std::vector<int64_t>&, const std::string&) override {
    return Work();
  }
  Work do_reduce_scatter(const at::Tensor&, const at::Tensor&, const std::vector<int64_t>&,
                         const std::string&) override {
    return Work();
  }
  Work do_broadcast(const at::Tensor&, int, const std::string&) override { return Work(); }
  Work do_all_to_all(const at::Tensor&, const at::Tensor&, const std::vector<int64_t>&, const std::vector<int64_t>&,
                     const std::string&) override {
    return Work();
  }
  void do_barrier(const std::string&) override {}

  const bool fails_;
  std::atomic<int> polls_{0};
  std::promise<void> twice_;
};

TEST(BackgroundPollTest, PollsUntilItEnds) {
  PolledCommunicator communicator(2, false);
  {
    const BackgroundPoll poll(communicator);
    communicator.wait_for_two();
  }
  const int polls = communicator.polls();
  { const BackgroundPoll ends_at_once(communicator); }
  EXPECT_GE(polls, 2);
}

TEST(BackgroundPollTest, LeavesAFailureToWhoeverWaits) {
  PolledCommunicator communicator(2, true);
  {
    const BackgroundPoll poll(communicator);
    communicator.wait_for_two();
  }
  EXPECT_EQ(communicator.polls(), 2);
}

TEST(BackgroundPollTest, IsNotNeededInAWorldOfOne) {
  PolledCommunicator communicator(1, false);
  for (int i = 0; i < 100; ++i) const BackgroundPoll poll(communicator);
  EXPECT_EQ(communicator.polls(), 0);
}

}  // namespace
}  // namespace muster
