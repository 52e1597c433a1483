// GoogleTest's main for every test program: as one process, and as a rank under mpirun.
#include <gtest/gtest.h>

#include "launch/process.h"
#include "tests/support/test_process.h"

namespace {
muster::Process* process_of_this_program = nullptr;
}

muster::Process& muster::test_process() {
  return *process_of_this_program;
}

int main(int argc, char** argv) {
  muster::Process process(&argc, &argv);
  process_of_this_program = &process;
  testing::InitGoogleTest(&argc, argv);
  const int failed = RUN_ALL_TESTS();
  if (failed != 0 && process.world_size() > 1) process.abort(1);
  return failed;
}
