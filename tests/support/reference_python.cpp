#include "tests/support/reference_python.h"

#include <filesystem>
#include <stdexcept>

#include "tests/support/child_process.h"

namespace muster {

std::string reference_python() {
  const std::string path = MUSTER_SOURCE_DIR "/.deps/test-python/bin/python";
  return std::filesystem::exists(path) ? path : "";
}

void run_reference_python(const std::string& script, const std::vector<std::string>& arguments) {
  std::vector<std::string> argv = {reference_python(), "-c", script};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  const ProgramResult result = run_program(argv);
  if (result.exit_code != 0) throw std::runtime_error("reference Python failed:\n" + result.output);
}

}  // namespace muster
