// Files of torch.save: honest ones by Python are in tests/encoders/published_weights_test.cpp; these are what nobody
// honest would write.
#include "dataloader/formats/torch_file.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "dataloader/formats/pickle_reader.h"
#include "launch/error.h"
#include "tests/support/file_bytes.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/torch_archive.h"

namespace muster {
namespace {

using testing::HasSubstr;
using Kind = PickleValue::Kind;

std::string floats(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

const std::string kSix = floats({0, 1, 2, 3, 4, 5});

// A state_dict of tensors by name.
std::string dict(const std::vector<std::pair<std::string, PickledTensor>>& tensors) {
  std::string pickle = "}(";
  for (const auto& [name, tensor] : tensors) pickle += pickled(name) + pickled(tensor);
  return pickle + "u";
}

class TorchFiles : public testing::Test {
 protected:
  std::string write(const std::string& bytes) const {
    write_bytes(folder_ / "f.pt", {bytes.begin(), bytes.end()});
    return folder_ / "f.pt";
  }

  NamedTensors read(const std::string& bytes) const {
    const TorchFile file(write(bytes));
    std::vector<size_t> all;
    for (size_t i = 0; i < file.tensors().size(); ++i) all.push_back(i);
    NamedTensors tensors;
    file.read(
        all, [&](size_t i, const at::Tensor& tensor) { tensors.emplace_back(file.tensors()[i].name, tensor.clone()); });
    return tensors;
  }

  std::string refusal(const std::string& bytes) const {
    try {
      read(bytes);
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  }

  TemporaryFolder folder_;
};

TEST_F(TorchFiles, ViewsOfOneStorage) {
  const NamedTensors tensors = read(torch_archive(dict({{"whole", {"0", 6, 0, {2, 3}, {3, 1}}},
                                                        {"turned", {"0", 6, 0, {3, 2}, {1, 3}}},
                                                        {"column", {"0", 6, 2, {2}, {3}}},
                                                        {"one", {"0", 6, 5, {}, {}}},
                                                        {"none", {"0", 6, 6, {0, 3}, {3, 1}}},
                                                        {"last", {"1", 2, 0, {2}, {1}}}}),
                                                  {kSix, floats({7, 8})}));
  const auto expect = [&](const char* name, const at::Tensor& values) {
    EXPECT_TRUE(at::equal(find_tensor(tensors, name, "file"), values)) << name;
  };
  expect("whole", at::tensor({0., 1., 2., 3., 4., 5.}, at::kFloat).view({2, 3}));
  expect("turned", at::tensor({0., 3., 1., 4., 2., 5.}, at::kFloat).view({3, 2}));
  expect("column", at::tensor({2., 5.}, at::kFloat));
  expect("one", at::scalar_tensor(5, at::kFloat));
  expect("last", at::tensor({7., 8.}, at::kFloat));
  EXPECT_EQ(find_tensor(tensors, "none", "file").sizes(), (std::vector<int64_t>{0, 3}));
}

TEST_F(TorchFiles, TheStateDictIsFoundWhereProgramsPutIt) {
  const std::string tensors = dict({{"w", {"0", 6, 0, {6}, {1}}}});
  for (const char* key : {"state_dict", "model"}) {
    EXPECT_EQ(
        read(torch_archive("}(" + pickled("epoch") + "K\3" + pickled(std::string(key)) + tensors + "u", {kSix})).size(),
        1U);
  }
  EXPECT_THAT(refusal(torch_archive("}" + pickled("epoch") + "K\3s")),
              HasSubstr("holds no dict of tensors, such as model.state_dict()"));
  EXPECT_THAT(refusal(torch_archive("K\3")), HasSubstr("holds no dict of tensors"));
}

TEST_F(TorchFiles, StoragesThatLie) {
  constexpr int64_t kHuge = int64_t{1} << 40, kMost = std::numeric_limits<int64_t>::max();
  const auto tensor = [&](const PickledTensor& lie) { return refusal(torch_archive(dict({{"w", lie}}), {kSix})); };
  EXPECT_EQ(tensor({"0", 6, 0, {6}, {1}}), "");
  EXPECT_THAT(tensor({"0", kHuge, 0, {kHuge}, {1}}),
              HasSubstr("tensor w should lie in a storage of 1099511627776 elements, and that has 24 bytes"));
  EXPECT_THAT(tensor({"0", 5, 0, {5}, {1}}), HasSubstr("of 5 elements, and that has 24 bytes"));
  EXPECT_THAT(tensor({"0", 6, 0, {6}, {1}, "DoubleStorage"}), HasSubstr("of 6 elements, and that has 24 bytes"));
  EXPECT_THAT(tensor({"0", -6, 0, {6}, {1}}), HasSubstr("of -6 elements"));
  EXPECT_THAT(tensor({"1", 6, 0, {6}, {1}}), HasSubstr("tensor w has no storage in the archive"));
  for (const PickledTensor& lie : std::vector<PickledTensor>{{"0", 6, 1, {6}, {1}},
                                                             {"0", 6, 0, {7}, {1}},
                                                             {"0", 6, 0, {2}, {6}},
                                                             {"0", 6, -1, {1}, {1}},
                                                             {"0", 6, kMost, {1}, {1}},
                                                             {"0", 6, 0, {2}, {kMost}},
                                                             {"0", 6, 0, {kHuge, kHuge}, {0, 0}},
                                                             {"0", 6, 0, {kHuge}, {0}},
                                                             {"0", 6, 0, {0, kMost, kMost}, {1, 1, 1}},
                                                             {"0", 6, 0, {2, 3}, {1}},
                                                             {"0", 6, 0, {-1}, {1}},
                                                             {"0", 6, 5, {2}, {-1}}}) {
    EXPECT_THAT(tensor(lie), HasSubstr("tensor w reaches beyond its storage")) << testing::PrintToString(lie.sizes);
  }
  EXPECT_THAT(refusal(torch_archive(dict({{"w", {"0", 6, 0, {6}, {1}}}, {"w", {"0", 6, 0, {6}, {1}}}}), {kSix})),
              HasSubstr("tensor w is there twice"));
}

TEST_F(TorchFiles, CodeIsNeverRun) {
  for (const char* name : {"os\nsystem", "posix\nsystem", "builtins\neval", "torch\nload", "torch.hub\nload",
                           "numpy.core.multiarray\nscalar", "__torch\nx", "collections\nCounter", "torch\nsave"}) {
    const std::string call = "c" + std::string(name) + "\n" + pickled("true") + "\x85R";
    EXPECT_THAT(refusal(torch_archive(call)), HasSubstr("holds code to run (")) << name;
  }
  EXPECT_THAT(refusal(torch_archive("cos\nsystem\n")),
              HasSubstr("holds code to run (os.system), which Muster never does"));
  // What is allowed is not called with anything either.
  const std::string text = pickled("x");
  for (const std::string& call : std::vector<std::string>{
           "ccollections\nOrderedDict\n" + text + "\x85R", "ctorch\nFloatStorage\n" + text + "\x85R",
           "ctorch._utils\n_rebuild_parameter\n" + text + "\x85R", "ctorch\nSize\n" + text + "\x85R",
           "c__torch__\nA\n" + text + "\x85R", "ccollections\nOrderedDict\n)\x81", text + text + "\x85R",
           "ctorch._utils\n_rebuild_tensor_v2\n" + text + "\x85R", text + "Q", text + "}b",
           "c__torch__\nA\n)\x81" + text + "b"}) {
    EXPECT_THAT(refusal(torch_archive(call)), HasSubstr("its pickle is damaged at byte")) << call;
  }
}

TEST_F(TorchFiles, BombsAreRefused) {
  const auto repeated = [](const std::string& text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
  };
  const std::string deep = "its pickle is nested deeper than 64 levels";
  EXPECT_THAT(refusal(torch_archive(repeated("]", 200'000) + repeated("a", 199'999))), HasSubstr(deep));
  EXPECT_THAT(refusal(torch_archive(")" + repeated("\x85", 200'000))), HasSubstr(deep));
  EXPECT_THAT(refusal(torch_archive(repeated("(", 200'000) + repeated("t", 200'000))), HasSubstr(deep));
  // The innermost first, so that a visit that follows the first place of each value never goes deep.
  std::string chain = "](])q\1";
  for (int i = 0; i < 200; ++i) chain += "h\1\x85q\1";
  EXPECT_THAT(refusal(torch_archive(chain + "e")), HasSubstr(deep));
  EXPECT_THAT(refusal(torch_archive("]q\1h\1a")), HasSubstr("a value that holds itself"));
  EXPECT_THAT(refusal(torch_archive(repeated("N", 1'100'000) + "(t")), HasSubstr("more than 262144 values"));
  EXPECT_THAT(refusal(torch_archive("(" + repeated("NNNNNNNN", 64) + "tq\1ctorch\nSize\nq\2" +
                                    repeated("h\2h\1\x85R", 20'000))),
              HasSubstr("more than 1048576 items"));
  // Each of 25 modules holds the next one twice: 2^25 paths to what is in the last.
  const std::string module = "c__torch__\nA\n)\x81}(";
  const auto twice = [&](const std::string& value) {
    std::string modules = module + pickled("w") + value + "ubq\1";
    for (int i = 0; i < 25; ++i) modules = module + pickled("a") + modules + pickled("b") + "h\1ubq\1";
    return modules;
  };
  EXPECT_THAT(refusal(torch_archive(twice("N"))), HasSubstr("too many modules"));
  EXPECT_THAT(refusal(torch_archive(twice(pickled(PickledTensor{"0", 6, 0, {6}, {1}})), {kSix})),
              HasSubstr("more than 100000 tensors"));
}

TEST_F(TorchFiles, OddArchivesAreRefused) {
  EXPECT_THAT(refusal(stored_zip({{"a.txt", "x"}})), HasSubstr("a zip archive, but none of PyTorch's"));
  EXPECT_THAT(refusal(stored_zip({{"a/data.pkl", "."}, {"b/data.pkl", "."}})), HasSubstr("several data.pkl"));
  EXPECT_THAT(refusal("no zip"), HasSubstr("not a whole zip archive"));
  EXPECT_THAT(refusal(stored_zip({{"a/data.pkl", "\x80\4."}})), HasSubstr("its protocol is not 2"));
  EXPECT_THAT(refusal(stored_zip({{"a/data.pkl", ""}})),
              HasSubstr("its pickle is damaged at byte 0: it ends too early"));
  EXPECT_THAT(refusal(stored_zip({{"a/data.pkl", "\x80\2}."}, {"a/byteorder", "big"}})),
              HasSubstr("not little-endian"));
  EXPECT_NE(refusal(stored_zip({{"a/data.pkl", "\x80\2}."}}, 1 << 30)), "");
  std::string damaged = torch_archive(dict({{"w", {"0", 6, 0, {6}, {1}}}}), {kSix});
  damaged[damaged.find(kSix) + 5] ^= 1;
  EXPECT_THAT(refusal(damaged), HasSubstr("archive/data/0 cannot be read (CRC error); the file is damaged"));
}

// As Python's repr().
std::string repr(const PickleValue& value) {
  const auto list = [&](const char* open, const std::string& close) {
    std::string text = open;
    for (size_t i = 0; i < value.items.size(); ++i) {
      const bool key = value.kind == Kind::kDict && i % 2 == 1;
      text += (i == 0 ? "" : key ? ": " : ", ") + repr(*value.items[i]);
    }
    return text + close;
  };
  switch (value.kind) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return value.integer != 0 ? "True" : "False";
    case Kind::kInteger:
      return std::to_string(value.integer);
    case Kind::kReal:
      return fmt::format("{}", value.real);
    case Kind::kString:
      return "'" + value.text + "'";
    case Kind::kTuple:
      return list("(", value.items.size() == 1 ? ",)" : ")");
    case Kind::kList:
      return list("[", "]");
    case Kind::kDict:
      return list("{", "}");
    case Kind::kClass:
    case Kind::kObject:
    case Kind::kStorage:
    case Kind::kTensor:
      break;
  }
  return "?";
}

TEST(Pickle, PythonsValues) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  run_reference_python(R"(
import collections, pickle, sys
shared = [1, 2]
value = (None, True, False, 0, 7, 255, 256, 65535, 65536, -1, 2**31 - 1, -2**31, 2**31, -2**40, 2**62, -2**63, 2**63 - 1, 1.5, -0.125,
         'ab', '\u00e9\u4e2d', '', (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [5], list(range(2000)), {}, {'a': 1},
         {i: (i, [i]) for i in range(1500)}, shared, shared, {'b': shared, 'c': {'d': None}}, ['x' * 300] * 400)
ordered = collections.OrderedDict([('p', 1), ('q', 2.5)])
ordered._metadata = {'version': 1}
open(sys.argv[1], 'wb').write(pickle.dumps((value, ordered), 2))
open(sys.argv[2], 'w').write(repr((value, dict(ordered))))
)",
                       {folder / "pickle", folder / "repr"});
  const std::vector<uint8_t> bytes = read_bytes(folder / "pickle"), text = read_bytes(folder / "repr");
  const PickleTree tree = read_pickle({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "file");
  EXPECT_EQ(repr(tree.root()), std::string(text.begin(), text.end()));
}

}  // namespace
}  // namespace muster
