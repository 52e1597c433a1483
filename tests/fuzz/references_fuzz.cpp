// A bank of references: rows, means and names in safetensors, whose header's length is made right. The header, then a
// \1, then the data.
#include <string>

#include "comm/local_communicator.h"
#include "dataloader/formats/safetensors_rows.h"
#include "tests/fuzz/target.h"
#include "tests/support/torch_archive.h"
#include "trainer/reference_names.h"
#include "trainer/references/reference_bank.h"
#include "trainer/references/reference_file.h"
#include "trainer/references/refinement.h"

namespace muster::fuzz {
namespace {

constexpr int64_t kWidth = 2;

std::string tensor(const std::string& name, const std::string& type, const std::string& shape, size_t& at,
                   size_t bytes) {
  const std::string begin = std::to_string(at), end = std::to_string(at += bytes);
  return '"' + name + R"(":{"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":[)" + begin + "," + end +
         "]},";
}

std::string of_reals(size_t count) {
  std::string bytes;
  for (size_t i = 0; i < count; ++i) bytes += std::string("\0\0\x80\x3f", 4);
  return bytes;
}

}  // namespace

std::vector<std::string> seeds() {
  size_t at = 0;
  const struct {
    const char *name, *type, *shape;
    size_t bytes;
  } tensors[] = {{"identity", "I64", "[2]", 16},    {"step", "I64", "[2]", 16},         {"slot", "I64", "[2]", 16},
                 {"mean.updates", "I64", "[1]", 8}, {"name.offsets", "I64", "[3]", 24}, {"rows", "F32", "[2,2]", 16},
                 {"exp_avg", "F32", "[2,2]", 16},   {"exp_avg_sq", "F32", "[2,2]", 16}, {"mean.image", "F32", "[2]", 8},
                 {"mean.text", "F32", "[2]", 8},    {"name.bytes", "U8", "[2]", 2}};
  std::string header = "{";
  for (const auto& [name, type, shape, bytes] : tensors) header += tensor(name, type, shape, at, bytes);
  header.back() = '}';
  const auto integers = [](const std::vector<uint64_t>& values) {
    std::string bytes;
    for (const uint64_t value : values) bytes += little_endian(value, 8);
    return bytes;
  };
  return {header + "\1" + integers({3, 5, 0, 0, 0, 0, 0, 0, 1, 2}) + of_reals(16) + "AB"};
}

std::vector<std::string> words() {
  return {"\"rows\"",
          "\"identity\"",
          "\"mean.image\"",
          "\"name.bytes\"",
          "\"slot\"",
          "F32",
          "F64",
          "I64",
          "U8",
          "BOOL",
          "[2]",
          "[2,2]",
          "[]",
          "[0,2]",
          "[4]",
          "[1,2,2]",
          "\1",
          "{",
          "}",
          std::string(8, '\xff'),
          std::string("\0\0\xc0\x7f", 4)};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  const std::string input(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(input.find('\1'), input.size());
  std::string header = input.substr(0, cut);
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const fuzz::MemoryFile file(little_endian(header.size(), 8) + header + input.substr(std::min(cut + 1, input.size())));
  fuzz::allow_refusal([&] {
    const NamedRows rows = read_named_rows(SafetensorsFile(file.path()));
    fuzz::require(rows.name.size() == rows.identity.size(), "each row has a name");
  });
  fuzz::allow_refusal([&] { read_reference_basis(file.path()); });
  fuzz::allow_refusal([&] {
    LocalCommunicator communicator;
    ReferenceBank bank({}, {3, 5}, fuzz::kWidth, 1, 4, communicator);
    fuzz::require(read_references(file.path(), bank, communicator) >= 0, "some rows are found, or none");
  });
  return 0;
}
