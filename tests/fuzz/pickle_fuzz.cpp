// The unpickler alone, and every value that it gives.
#include <set>
#include <string>

#include "dataloader/formats/pickle_reader.h"
#include "tests/fuzz/target.h"
#include "tests/support/torch_archive.h"

namespace muster::fuzz {
namespace {

// Counts the values that can be reached, each once.
void visit(const PickleValue& value, std::set<const PickleValue*>& seen, size_t depth) {
  require(depth <= kMaxPickleDepth, "a pickle that is taken is not nested deeper than is said");
  if (!seen.insert(&value).second) return;
  for (const PickleValue* item : value.items) visit(*item, seen, depth + 1);
}

}  // namespace

std::vector<std::string> seeds() {
  const std::string weight = pickled("w") + pickled(PickledTensor{"0", 16, 0, {4, 4}, {4, 1}});
  return {"\x80\2}(" + weight + "u.",
          "\x80\2}(" + pickled("epoch") + "K\3" + pickled("state_dict") + "}q\1(" + weight + "uu.",
          "\x80\2"
          "c__torch__\nA\n)\x81}(" +
              pickled("training") + "\x88" + weight + "ub.",
          "\x80\2(]q\1(K\1M\1\1J\xff\xff\xff\xff\x8a\3\1\2\3G\x3f\xf8" + std::string(6, '\0') + "eh\1N\x88\x89t\x85."};
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
          "j\1" + std::string(3, '\0'),
          "r\1" + std::string(3, '\0'),
          "\x81",
          "\x85",
          "\x86",
          "\x87",
          "\x80\2",
          "G" + std::string(8, '\x7f'),
          "ctorch._utils\n_rebuild_tensor_v2\n",
          "ctorch._utils\n_rebuild_parameter\n",
          "ctorch\nSize\n",
          "ccollections\nOrderedDict\n",
          "cos\nsystem\n",
          "c__torch__.a\nB\n",
          "\xff\xff\xff\xff",
          pickled("storage"),
          "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  fuzz::allow_refusal([&] {
    const PickleTree tree = read_pickle(bytes, "input");
    std::set<const PickleValue*> seen;
    fuzz::visit(tree.root(), seen, 1);
    fuzz::require(seen.size() <= kMaxPickleValues, "a pickle that is taken has no more values than is said");
    find_value(tree.root(), "state_dict");
  });
  return 0;
}
