// The process of a test program: a world of one, or a rank under mpirun.
#pragma once

#include "launch/process.h"

namespace muster {

Process& test_process();

}  // namespace muster
