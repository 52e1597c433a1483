// GoogleTest's main for every test program: as one process, and as a rank under mpirun.
#include <gtest/gtest.h>

#include "launch/process.h"

int main(int argc, char** argv) {
  muster::Process process(&argc, &argv);
  testing::InitGoogleTest(&argc, argv);
  const int failed = RUN_ALL_TESTS();
  if (failed != 0 && process.world_size() > 1) process.abort(1);
  return failed;
}
