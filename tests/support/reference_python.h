// The Python that reference values come from: Pillow, NumPy and others, put there by launch/setup.sh.
#pragma once

#include <string>
#include <vector>

namespace muster {

// Empty if it is not installed: then the test must skip.
std::string reference_python();

// Runs the script with sys.argv[1:] = arguments. std::runtime_error with the output if it fails.
void run_reference_python(const std::string& script, const std::vector<std::string>& arguments);

}  // namespace muster

// In a test body that needs it.
#define MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON() \
  if (muster::reference_python().empty()) GTEST_SKIP() << "no reference Python: run launch/setup.sh"
