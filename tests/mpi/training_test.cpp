// The promise "exact", for the whole step: a mini encoder over N ranks and k chunks against one process with the whole
// batch, one graph and plain autograd in float64.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "comm/local_communicator.h"
#include "launch/error.h"
#include "tests/mpi/whole_step.h"

namespace muster {
namespace {

class TrainingTest : public StepTest {};

TEST_F(TrainingTest, EveryGradientEqualsTheWholeBatchInOneProcess) {
  expect_every_gradient_exact(*communicator_, at::kFloat, 2e-5);
}

TEST_F(TrainingTest, EveryGradientEqualsTheWholeBatchInOneProcessInFloat64) {
  expect_every_gradient_exact(*communicator_, at::kDouble, 1e-12);
}

// In bfloat16 a row's last bits depend on how many rows are multiplied with it: eight bits of them, so the gate is
// wide. That the encoders do compute in it shows beside float32.
TEST_F(TrainingTest, Bf16GradientsAreNearThoseOfOneProcess) {
  const Batch batch = make_batch(small_model(), 13, 0);
  LocalCommunicator local;
  Subject alone(local, 0, at::kFloat, true), alone_in_float32(local, 0), together(*communicator_, 3, at::kFloat, true);
  alone.gradients(batch);
  alone_in_float32.gradients(batch);
  together.gradients(batch);
  EXPECT_LE(largest_error(together, alone), 0.05);
  EXPECT_GE(largest_error(alone, alone_in_float32), 1e-3);
}

TEST_F(TrainingTest, WeightsAfterFiveSgdStepsEqualTheWholeBatchInOneProcess) {
  expect_weights_exact(*communicator_, 1e-5);
}

TEST_F(TrainingTest, MoreRanksThanRowsIsStillExact) {
  const Batch batch = make_batch(small_model(), 2, 0);
  Reference reference;
  const double loss = reference.step(batch);
  Subject subject(*communicator_, 0);
  EXPECT_NEAR(subject.gradients(batch).loss, loss, 2e-5 * std::abs(loss));
}

TEST_F(TrainingTest, ALossThatIsNotFiniteChangesNoWeightOnAnyRank) {
  Batch batch = make_batch(small_model(), 8, 0);
  batch.images.index_put_({0, 0, 0, 0}, std::numeric_limits<float>::quiet_NaN());
  Subject subject(*communicator_, 0);
  std::vector<at::Tensor> before;
  for (const auto& parameter : subject.parameters()) before.push_back(parameter.second.detach().clone());
  const StepResult result = subject.step(batch);
  EXPECT_FALSE(result.is_finite());
  EXPECT_TRUE(std::isnan(result.loss));
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(before[i].equal(subject.parameters()[i].second));
}

}  // namespace
}  // namespace muster
