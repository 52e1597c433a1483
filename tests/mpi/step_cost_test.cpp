// The traffic that a step is said to make against what it makes, under MPI.
#include "trainer/step_cost.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "tests/mpi/step_fixture.h"
#include "tests/trainer/costed_step.h"

namespace muster {
namespace {

class StepCostTest : public StepTest {};

TEST_F(StepCostTest, TrafficIsAsForeseen) {
  for (const auto& [what, settings] : costed_settings(13)) expect_traffic(what, settings, *communicator_);
  for (const auto& [what, settings] : costed_region_settings(13)) expect_traffic(what, settings, *communicator_);
}

}  // namespace
}  // namespace muster
