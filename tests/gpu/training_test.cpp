// The promise "exact" on GPUs: ranks x chunks, each rank's model on its GPU, against one process on the CPU in float64.
#include <gtest/gtest.h>

#include <memory>

#include "comm/local_communicator.h"
#include "tests/gpu/gpu_rank.h"
#include "tests/mpi/whole_step.h"

namespace muster {
namespace {

class GpuTraining : public testing::Test {
 protected:
  void SetUp() override {
    MUSTER_NEEDS_A_GPU();
    device_ = gpu_of_this_rank();
    if (test_process().world_size() == 1) {
      communicator_ = std::make_unique<LocalCommunicator>(/*checked=*/true);
    } else {
      communicator_ = nccl_communicator(/*checked=*/true);
    }
  }

  at::Device device_ = at::kCPU;
  std::unique_ptr<Communicator> communicator_;
};

TEST_F(GpuTraining, EveryGradientEqualsTheWholeBatchInOneProcess) {
  expect_every_gradient_exact(*communicator_, at::kFloat, 2e-5, device_);
}

TEST_F(GpuTraining, EveryGradientEqualsTheWholeBatchInOneProcessInFloat64) {
  expect_every_gradient_exact(*communicator_, at::kDouble, 1e-12, device_);
}

TEST_F(GpuTraining, WeightsAfterFiveSgdStepsEqualTheWholeBatchInOneProcess) {
  expect_weights_exact(*communicator_, 1e-5, device_);
}

TEST_F(GpuTraining, RunsAgainGiveTheSameBits) {
  const Batch batch = make_batch(small_model(), 13, 0);
  Subject first(*communicator_, 3, at::kFloat, false, device_), second(*communicator_, 3, at::kFloat, false, device_);
  EXPECT_EQ(first.gradients(batch).loss, second.gradients(batch).loss);
  for (size_t i = 0; i < first.parameters().size(); ++i) {
    EXPECT_TRUE(first.parameters()[i].second.grad().equal(second.parameters()[i].second.grad()))
        << first.parameters()[i].first;
  }
}

// In bfloat16: against one process on the CPU in float32. Prints what the bound in the README is taken from.
TEST_F(GpuTraining, Bf16GradientsAreNearThoseInFloat32) {
  const Batch batch = make_batch(small_model(), 13, 0);
  LocalCommunicator local;
  Subject truth(local, 0), half(*communicator_, 3, at::kFloat, true, device_);
  truth.gradients(batch);
  half.gradients(batch);
  const double error = largest_error(half, truth);
  RecordProperty("largest_relative_error", std::to_string(error));
  EXPECT_LE(error, 0.05);
  EXPECT_GE(error, 1e-4);
}

}  // namespace
}  // namespace muster
