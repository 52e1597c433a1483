// What `muster --version` prints.
#pragma once

#include <string>

namespace muster {

// The program, its commit, the libraries it was built with, the MPI library that it runs with, and the formats that it
// writes: a line each, in "name value" columns.
std::string describe_version();

}  // namespace muster
