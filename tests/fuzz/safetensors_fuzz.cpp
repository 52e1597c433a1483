// safetensors: the header's length is made right where the input is long enough, or few inputs would reach the JSON.
#include <string>

#include "dataloader/formats/safetensors.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {
namespace {

// The length, the header, the data; a \1 between the last two in an input.
std::string file_of(std::string header, const std::string& data) {
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string length;
  for (unsigned i = 0; i < 8; ++i) length += static_cast<char>(header.size() >> (8 * i) & 0xFFU);
  return length + header + data;
}

}  // namespace

std::vector<std::string> seeds() {
  return {
      R"({"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}})" + std::string("\1") + std::string(16, 'x'),
      R"({"__metadata__": {"format": "pt"}, "a": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}, )"
      R"("b": {"dtype": "BF16", "shape": [0, 5], "data_offsets": [8, 8]}})" +
          std::string("\1") + std::string(8, 'x')};
}

std::vector<std::string> words() {
  return {
      "\"dtype\"", "\"shape\"", "\"data_offsets\"", "\"__metadata__\"", "F64", "F16", "U8", "BOOL", "[", "]", "{", "}",
      "\1",        ","};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  const std::string input(reinterpret_cast<const char*>(data), size);
  const size_t cut = input.find('\1');
  const fuzz::MemoryFile file(cut == std::string::npos ? input
                                                       : fuzz::file_of(input.substr(0, cut), input.substr(cut + 1)));
  fuzz::allow_refusal([&] {
    for (const auto& [name, tensor] : read_safetensors(file.path()))
      fuzz::require(static_cast<uint64_t>(tensor.nbytes()) <= size, "a tensor that is read was in the file");
  });
  return 0;
}
