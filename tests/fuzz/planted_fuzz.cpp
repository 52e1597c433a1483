// A reader with a bug, for driver_test.cmake: what the driver does with a finding.
#include <memory>
#include <string>
#include <string_view>

#include "tests/fuzz/target.h"

namespace muster::fuzz {

std::vector<std::string> seeds() {
  return {"a 1 b"};
}

std::vector<std::string> words() {
  return {"bug"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  muster::fuzz::require(text.find("bug") == std::string_view::npos, "there is no bug");
  for (volatile bool goes_on = text == "slow"; goes_on;) {
  }
  if (text == "large") std::make_unique<std::string>(size_t{600} << 20U, 'x');
  return 0;
}
