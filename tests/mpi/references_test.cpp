// The reference bank under mpirun: both placements against the whole batch.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "comm/mpi_communicator.h"
#include "tests/references/reference_truth.h"

namespace muster {
namespace {

using namespace reference_test;

class MpiReferences : public testing::TestWithParam<at::ScalarType> {};

TEST_P(MpiReferences, EqualTheWholeBatch) {
  const std::unique_ptr<Communicator> communicator = make_mpi_communicator(MpiOptions());
  const double gate = GetParam() == at::kDouble ? 1e-12 : 2e-5;
  for (const char* placement : {"placement: REPLICATED", "placement: SHARDED"}) {
    for (const char* negatives : {"negatives: BANK", "negatives: BATCH"}) {
      ReferencesConfig config = parse(std::string(placement) + " " + negatives +
                                      " fusion_weight: 0.7 guidance_weight: 1.3 guidance_ramp_epochs: 4");
      for (const auto& setting : {make_setting(13, 9, 8, 3), make_setting(2, 3, 5, 4), make_setting(31, 50, 24, 5),
                                  make_setting(17, 7, 8, 6, 3)}) {
        config.set_per_identity(setting.per_identity);
        const Truth truth = whole_batch(setting, config, GetParam(), 1.3 * 0.25, 0.7);
        for (const auto& rows : cuts(setting.identity.size(0), communicator->size())) {
          EXPECT_LE(error_on_rank(setting, config, truth, rows, GetParam(), *communicator), gate)
              << placement << " " << negatives << " rows on rank 0: " << rows[0];
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, MpiReferences, testing::Values(at::kFloat, at::kDouble),
                         [](const auto& tested) { return tested.param == at::kFloat ? "Float" : "Double"; });

}  // namespace
}  // namespace muster
