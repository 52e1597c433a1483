// Pickled dicts of whole numbers.
#include <string>

#include "dataloader/formats/index_pickle.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {

std::vector<std::string> seeds() {
  return {"(dp1\nI458752\nI0\nsL8036608675L\nI1\ns.", std::string("\x80\2}q\0(J\1\2\3\4K\0M\1\2K\1u.", 20),
          std::string("\x80\4\x95\x12\0\0\0\0\0\0\0}\x94(\x8a\5\xa3\xea\4\xdf\1K\0K\x12K\1u.", 29)};
}

std::vector<std::string> words() {
  return {"I7\n", "L7L\n", "K\1", "M\1\2", "J\1\2\3\4", "\x8a\2\1\2", "(",   "d",
          "}",    "s",     "u",   ".",     "q\1",       "p1\n",       "\x94"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  fuzz::allow_refusal([&] {
    const auto items = parse_index_pickle(bytes, "x");
    fuzz::require(4 * items.size() <= bytes.size(), "no item without its bytes");
  });
  return 0;
}
