// Files of torch.save. An input is a pickle, which is put into an archive whose sizes and checksums are right, beside a
// storage of 64 bytes; or, if it begins as a zip does, the whole archive.
#include <cstdint>
#include <string>

#include "dataloader/formats/torch_file.h"
#include "tests/fuzz/target.h"
#include "tests/support/torch_archive.h"

namespace muster::fuzz {
namespace {

const std::string kStorage(64, '\x3c');

std::string tensor(const std::string& name, const PickledTensor& view) {
  return pickled(name) + pickled(view);
}

std::string state_dict() {
  return "}(" + tensor("w", {"0", 16, 0, {4, 4}, {4, 1}}) + tensor("b", {"0", 32, 8, {2, 3}, {1, 2}, "HalfStorage"}) +
         "u}" + pickled("_metadata") + "Nsb";
}

}  // namespace

std::vector<std::string> seeds() {
  const std::string open = "c__torch__\nA\n)\x81}(";
  const std::string module = open + pickled("training") + "\x88" + tensor("weight", {"0", 16, 0, {16}, {1}}) + "ubq\1";
  return {
      state_dict(), "}(" + pickled("epoch") + "K\3" + pickled("state_dict") + state_dict() + "u",
      open + pickled("a") + module + pickled("b") + "h\1ub", torch_archive(state_dict(), {kStorage}),
      stored_zip({{"a/data.pkl", "\x80\2" + state_dict() + "."}, {"a/byteorder", "little"}, {"a/data/0", kStorage}})};
}

std::vector<std::string> words() {
  return {"(",
          "t",
          "}",
          "u",
          "]",
          "e",
          "a",
          "s",
          "b",
          "Q",
          "R",
          ")",
          ".",
          "h\1",
          "q\1",
          "\x81",
          "\x85",
          "\x86",
          "\x87",
          "ctorch._utils\n_rebuild_tensor_v2\n",
          "ctorch._utils\n_rebuild_parameter\n",
          "ctorch\nSize\n",
          "ctorch\nLongStorage\n",
          "ccollections\nOrderedDict\n",
          "cos\nsystem\n",
          "c__torch__.a\nB\n",
          "PK\1\2",
          "PK\3\4",
          "PK\5\6",
          "PK\6\6",
          "PK\6\7",
          "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
          "\xff\xff\xff\xff",
          "data.pkl",
          "/data/0",
          pickled("storage"),
          pickled("model")};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  const std::string input(reinterpret_cast<const char*>(data), size);
  const bool is_zip = input.rfind("PK", 0) == 0;
  const fuzz::MemoryFile memory(is_zip ? input : torch_archive(input, {fuzz::kStorage}));
  fuzz::allow_refusal([&] {
    const TorchFile file(memory.path());
    std::vector<size_t> all;
    for (size_t i = 0; i < file.tensors().size(); ++i) all.push_back(i);
    uint64_t taken = 0;
    file.read(all, [&](size_t, const at::Tensor& tensor) {
      ++taken;
      const uint64_t limit = is_zip ? size : fuzz::kStorage.size();
      fuzz::require(static_cast<uint64_t>(tensor.nbytes()) <= limit, "a tensor that is read was in the file");
      fuzz::require(tensor.storage().nbytes() <= limit, "a storage that is read was in the file");
    });
    fuzz::require(taken == file.tensors().size(), "each tensor is read once");
  });
  return 0;
}
