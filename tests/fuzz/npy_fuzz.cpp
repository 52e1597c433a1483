// NumPy's arrays. The header's two length bytes are made right, or few changed headers would be looked at.
#include <string>

#include "dataloader/formats/npy.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {
namespace {

std::string array(const std::string& header, size_t data_bytes) {
  return std::string("\x93NUMPY\1\0\0\0", 10) + header + "\n" + std::string(data_bytes, '\x3c');
}

void make_length_right(std::string& bytes) {
  const size_t end = bytes.find('\n');
  if (end == std::string::npos || end < 10) return;
  bytes[8] = static_cast<char>((end - 9) & 0xff);
  bytes[9] = static_cast<char>((end - 9) >> 8 & 0xff);
}

}  // namespace

std::vector<std::string> seeds() {
  return {array("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24),
          array("{'descr': '<f2', 'fortran_order': False, 'shape': (4,), }", 8),
          array("{'descr': '<f8', 'fortran_order': True, 'shape': (), }", 8)};
}

std::vector<std::string> words() {
  return {"'descr'", "'fortran_order'", "'shape'", "'<f4'", "'<f2'",    "True", "False", "(", ")", ",", ":", "{", "}",
          "0",       "99999",           " ",       "\n",    "\x93NUMPY"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  fuzz::make_length_right(bytes);
  fuzz::allow_refusal([&] {
    const NpyArray array = parse_npy(bytes, "x");
    uint64_t elements = 1;
    for (const uint64_t length : array.shape) elements *= length;
    fuzz::require(elements == array.values.size(), "an array has the elements of its shape");
    fuzz::require(elements <= bytes.size() / 2, "no element without its bytes");
    const fuzz::MemoryFile file(bytes);
    const NpyFile parts(file.path());
    fuzz::require(parts.shape() == array.shape && parts.read(0, elements).size() == elements,
                  "a file by parts is the same array");
  });
  return 0;
}
