#include "comm/gradient_reducer.h"

#include <gtest/gtest.h>

#include "comm/mpi_communicator.h"
#include "tests/support/reducer_contract.h"

namespace muster {
namespace {

std::unique_ptr<Communicator> communicator(bool checked) {
  MpiOptions options;
  options.checked = checked;
  options.first_timeout_s = 60;
  return make_mpi_communicator(options);
}

TEST(GradientReducer, EqualsAutogradOverTheWholeBatch) {
  for (const bool checked : {false, true}) {
    const auto c = communicator(checked);
    for (const int64_t bucket_bytes : {1, 1500, 1 << 20}) {
      for (const int64_t rows : {3, 23}) contract::reducer_equals_autograd(*c, rows, bucket_bytes);
    }
  }
}

TEST(GradientReducer, RepeatsItsBits) {
  const auto c = communicator(false);
  contract::reducer_repeats_its_bits(*c);
}

}  // namespace
}  // namespace muster
