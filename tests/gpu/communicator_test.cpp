// The contract over NCCL: every rank of the job runs every case.
#include "comm/communicator.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Generator.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>

#include <atomic>
#include <functional>
#include <thread>

#include "launch/error.h"
#include "tests/gpu/gpu_rank.h"
#include "tests/support/communicator_contract.h"
#include "tests/support/reducer_contract.h"

namespace muster {
namespace {

class NcclCommunicator : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { MUSTER_NEEDS_A_GPU(); }
  static void run(const std::function<void(Communicator&)>& body) {
    const auto communicator = nccl_communicator(GetParam());
    body(*communicator);
  }
  static void run(void (*body)(Communicator&, at::Device)) {
    run([body](Communicator& c) {
      body(c, gpu_of_this_rank());
      body(c, at::kCPU);
    });
  }
};

INSTANTIATE_TEST_SUITE_P(Modes, NcclCommunicator, testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Checked" : "Unchecked"; });

TEST_P(NcclCommunicator, ValuesOfEachDtype) {
  run(contract::values_of_each_dtype);
}
TEST_P(NcclCommunicator, RaggedAndEmpty) {
  run(contract::ragged_and_empty);
}
TEST_P(NcclCommunicator, InPlace) {
  run(contract::in_place);
}
TEST_P(NcclCommunicator, Large) {
  run(contract::large);
}
TEST_P(NcclCommunicator, WorksInFlight) {
  run(contract::works_in_flight);
}
TEST_P(NcclCommunicator, BitsOfSums) {
  run(contract::bits_of_sums);
}
TEST_P(NcclCommunicator, Misuse) {
  run(contract::misuse);
}

TEST_P(NcclCommunicator, DifferingCalls) {
  if (!GetParam() || test_process().world_size() < 2) return;  // only checked mode compares, with peers
  for (int which = 0; which < contract::differing_call_count(); ++which) {
    run([which](Communicator& c) { contract::differing_calls(c, which); });
  }
}

TEST_P(NcclCommunicator, GpuAndCpuGiveTheSameBits) {
  run([](Communicator& c) {
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
      for (const int64_t count : {int64_t{13}, int64_t{100003}}) {
        auto random = at::detail::createCPUGenerator(static_cast<uint64_t>(7 + c.rank()));
        const at::Tensor cpu = at::randn({count}, random, at::TensorOptions(at::kDouble)).to(dtype);
        const at::Tensor gpu = cpu.to(gpu_of_this_rank());
        c.all_reduce(cpu, ReduceOp::kSum, "on the CPU").wait();
        c.all_reduce(gpu, ReduceOp::kSum, "on the GPU").wait();
        ASSERT_TRUE(at::equal(gpu.cpu(), cpu));
      }
    }
  });
}

// What goes in is computed just before, on the current stream, and what comes out is read just after: nothing but
// wait() orders them. Products that take a while stand in front.
TEST_P(NcclCommunicator, CallsAreOrderedWithTheCurrentStream) {
  run([](Communicator& c) {
    const auto options = at::TensorOptions(at::kFloat).device(gpu_of_this_rank());
    const at::Tensor ones = at::ones({2000, 2000}, options);
    for (int i = 0; i < 20; ++i) {
      at::Tensor x = at::full({1000003}, c.rank() + i, options);
      at::Tensor slow = ones;
      for (int product = 0; product < 5; ++product) slow = slow.matmul(ones).div(2000);
      x.mul_(slow[0][0]);
      Work work = c.all_reduce(x, ReduceOp::kSum, "late");
      work.wait();
      const at::Tensor twice = x.add(x);
      x.fill_(-1);  // after it was read
      const double expected = 2.0 * (c.size() * (c.size() - 1) / 2 + i * c.size());
      ASSERT_EQ(twice.min().item().toDouble(), expected);
      ASSERT_EQ(twice.max().item().toDouble(), expected);
    }
  });
}

TEST_P(NcclCommunicator, AnotherThreadMayPoll) {
  run([](Communicator& c) {
    std::atomic<bool> stop{false};
    std::thread poller([&] {
      while (!stop) {
        c.poll();
        std::this_thread::yield();
      }
    });
    try {
      for (int i = 0; i < 5; ++i) contract::works_in_flight(c, gpu_of_this_rank());
    } catch (...) {
      stop = true;
      poller.join();
      throw;
    }
    stop = true;
    poller.join();
  });
}

TEST_P(NcclCommunicator, ATensorOfAnotherDeviceIsRefused) {
  run([](Communicator& c) {
    const std::vector<int64_t> ones(static_cast<size_t>(c.size()), 1);
    const at::Tensor all = at::empty({c.size(), 4}, at::kFloat);
    EXPECT_THROW(c.all_gather(all, at::empty({1, 4}, all.options().device(gpu_of_this_rank())), ones, "mixed"),
                 std::logic_error);
    EXPECT_THROW(c.all_reduce(at::empty({4}, at::TensorOptions(at::kMeta)), ReduceOp::kSum, "meta"), std::logic_error);
  });
}

TEST_P(NcclCommunicator, GradientReducerEqualsAutogradOverTheWholeBatch) {
  run([](Communicator& c) {
    for (const int64_t bucket_bytes : {1, 1500, 1 << 20}) {
      for (const int64_t rows : {3, 23}) contract::reducer_equals_autograd(c, rows, bucket_bytes, gpu_of_this_rank());
    }
    contract::reducer_repeats_its_bits(c, gpu_of_this_rank());
  });
}

TEST(NcclCommunicatorStart, AGpuThatIsNotThereIsOneLine) {
  MUSTER_NEEDS_A_GPU();
  NcclOptions options;
  options.device = at::Device(at::kCUDA, static_cast<at::DeviceIndex>(gpu_count()));
  try {
    make_nccl_communicator(make_mpi_communicator({}), options);
    FAIL() << "was not refused";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("has no cuda:" + std::to_string(gpu_count())));
  }
}

}  // namespace
}  // namespace muster
