#include "dataloader/formats/safetensors.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "dataloader/formats/safetensors_rows.h"
#include "tests/dataloader/sample_store.h"
#include "tests/support/file_bytes.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr at::ScalarType kTypes[] = {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong,
                                     at::kInt,    at::kShort, at::kChar, at::kByte,     at::kBool};

// One tensor of each type, with values that each type holds exactly: x[i, j] = (3 i + j) mod 2 for BOOL, else 3 i + j.
NamedTensors one_of_each() {
  NamedTensors tensors;
  for (const at::ScalarType type : kTypes) {
    at::Tensor values = at::arange(15, at::kLong).reshape({5, 3});
    if (type == at::kBool) values = values.remainder(2);
    tensors.emplace_back(std::string("of ") + c10::toString(type), values.to(type));
  }
  tensors.emplace_back("scalar", at::full({}, 2.5, at::kFloat));
  tensors.emplace_back("empty", at::zeros({0, 7}, at::kHalf));
  tensors.emplace_back("\xc3\xa9 \"quoted\" \\", at::ones({1}, at::kByte));
  return tensors;
}

void expect_same(const NamedTensors& read, const NamedTensors& written) {
  ASSERT_EQ(read.size(), written.size());
  for (const auto& [name, tensor] : written) {
    const at::Tensor& other = find_tensor(read, name, "file");
    EXPECT_EQ(other.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(other, tensor)) << name;
  }
}

TEST(Safetensors, GivesBackEveryType) {
  const TemporaryFolder folder;
  write_safetensors(folder / "f", one_of_each(), {{"kind", "test"}});
  expect_same(read_safetensors(folder / "f"), one_of_each());
  write_safetensors(folder / "none", {});
  EXPECT_TRUE(read_safetensors(folder / "none").empty());
}

TEST(Safetensors, WritesTheElementsOfAViewInOrder) {
  const TemporaryFolder folder;
  const at::Tensor view = at::arange(12, at::kFloat).reshape({3, 4}).t();
  write_safetensors(folder / "f", {{"view", view}});
  EXPECT_TRUE(at::equal(read_safetensors(folder / "f")[0].second, view));
}

TEST(Safetensors, KeepsTheOrderOfEqualTypes) {
  const TemporaryFolder folder;
  write_safetensors(folder / "f", {{"z", at::ones({2})}, {"e", at::ones({0})}, {"a", at::zeros({3})}});
  const NamedTensors read = read_safetensors(folder / "f");
  EXPECT_EQ(read[0].first, "z");
  EXPECT_EQ(read[2].first, "a");
}

TEST(Safetensors, PythonReadsOurs) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  write_safetensors(folder / "f", one_of_each(), {{"kind", "test"}});
  run_reference_python(R"(
import sys, numpy as np
from safetensors import safe_open, deserialize
expected = {'Double': 'f8', 'Float': 'f4', 'Half': 'f2', 'Long': 'i8', 'Int': 'i4', 'Short': 'i2', 'Char': 'i1', 'Byte': 'u1', 'Bool': '?'}
values = np.arange(15).reshape(5, 3)
with safe_open(sys.argv[1], 'numpy') as f:
    assert f.metadata() == {'kind': 'test'} and len(f.keys()) == 13, f.keys()
    for name, dtype in expected.items():
        x = f.get_tensor('of ' + name)
        assert x.dtype == np.dtype(dtype) and (x == (values % 2 if dtype == '?' else values)).all(), name
    assert f.get_tensor('scalar').shape == () and f.get_tensor('scalar') == 2.5
    assert f.get_tensor('empty').shape == (0, 7) and f.get_tensor('\u00e9 "quoted" \\') == [1]
raw = dict(deserialize(open(sys.argv[1], 'rb').read()))['of BFloat16']
assert raw['dtype'] == 'BF16' and raw['shape'] == [5, 3]
assert ((np.frombuffer(raw['data'], '<u2').astype('u4') << 16).view('f4') == np.arange(15)).all()
# A file whose data starts at, and whose tensors lie on, multiples of their size can be mapped.
import json
data = open(sys.argv[1], 'rb').read()
header = json.loads(data[8:8 + int.from_bytes(data[:8], 'little')])
sizes = {'F64': 8, 'F32': 4, 'F16': 2, 'BF16': 2, 'I64': 8, 'I32': 4, 'I16': 2, 'I8': 1, 'U8': 1, 'BOOL': 1}
header.pop('__metadata__')
assert int.from_bytes(data[:8], 'little') % 8 == 0
assert all(e['data_offsets'][0] % sizes[e['dtype']] == 0 for e in header.values())
)",
                       {folder / "f"});
}

TEST(Safetensors, WeReadPythons) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  run_reference_python(R"(
import sys, numpy as np
from safetensors import serialize_file
values = np.arange(15).reshape(5, 3)
kinds = {'Double': ('F64', 'f8'), 'Float': ('F32', 'f4'), 'Half': ('F16', 'f2'), 'Long': ('I64', 'i8'), 'Int': ('I32', 'i4'),
         'Short': ('I16', 'i2'), 'Char': ('I8', 'i1'), 'Byte': ('U8', 'u1')}
names = {'F64': 'float64', 'F32': 'float32', 'F16': 'float16', 'BF16': 'bfloat16', 'I64': 'int64', 'I32': 'int32', 'I16': 'int16',
         'I8': 'int8', 'U8': 'uint8', 'BOOL': 'bool'}
tensors = {'of ' + n: (d, values.astype(t)) for n, (d, t) in kinds.items()}
tensors['of Bool'] = ('BOOL', (values % 2).astype('?'))
tensors['of BFloat16'] = ('BF16', (values.astype('f4').view('u4') >> 16).astype('<u2'))
tensors['scalar'] = ('F32', np.array(2.5, 'f4'))
tensors['empty'] = ('F16', np.zeros((0, 7), 'f2'))
tensors['\u00e9 "quoted" \\'] = ('U8', np.ones(1, 'u1'))
serialize_file({n: {'dtype': names[d], 'shape': x.shape, 'data': x.tobytes()} for n, (d, x) in tensors.items()}, sys.argv[1], {'k': 'v'})
)",
                       {folder / "f"});
  expect_same(read_safetensors(folder / "f"), one_of_each());
}

TEST(Safetensors, AFileOfAnotherHashIsRefused) {
  const TemporaryFolder folder;
  const WrittenFile written = write_safetensors(folder / "f", one_of_each());
  expect_same(read_safetensors(folder / "f", written.xxh3_128), one_of_each());
  const std::string whole = read_file(folder / "f", 1 << 20);
  EXPECT_EQ(written.bytes, whole.size());
  for (const size_t place : {whole.find("\"F64\"") + 2, whole.size() - 1}) {  // another dtype; another byte of a tensor
    std::string other = whole;
    other[place] = other[place] == '6' ? '3' : static_cast<char>(other[place] ^ 1);
    write_text(folder / "g", other);
    EXPECT_THROW(read_safetensors(folder / "g", written.xxh3_128), DataError);
  }
}

// A file with this header and this many bytes of data.
std::string file_of(const std::string& header, size_t data_bytes) {
  const uint64_t size = header.size();
  std::string text(sizeof size, '\0');
  std::memcpy(text.data(), &size, sizeof size);
  return text + header + std::string(data_bytes, '\0');
}

std::string error_reading(const std::string& path, const std::string& contents) {
  write_text(path, contents);
  return error_of([&] { read_safetensors(path); });
}

TEST(Safetensors, HostileHeadersAreRefused) {
  const TemporaryFolder folder;
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  const std::string good = entry("F32", "[2]", "[0,8]");
  ASSERT_EQ(error_reading(folder / "f", file_of("{\"a\":" + good + "}", 8)), "");
  const struct {
    std::string header;
    size_t bytes;
    const char* message;
  } cases[] = {
      {"{\"a\":" + good + "}", 7, "truncated"},
      {"{\"a\":" + good + "}", 9, "truncated or damaged"},
      {"{\"a\":" + good + ",\"a\":" + good + "}", 8, "appears twice"},
      {"{\"a\":" + good + ",\"b\":" + entry("F32", "[2]", "[4,12]") + "}", 12, "overlaps"},
      {"{\"a\":" + good + ",\"b\":" + good + "}", 8, "overlaps"},
      {"{\"a\":" + good + ",\"b\":" + entry("F32", "[2]", "[12,20]") + "}", 20, "hole"},
      {"{\"a\":" + entry("F32", "[2]", "[8,0]") + "}", 8, "does not fit"},
      {"{\"a\":" + entry("F32", "[3]", "[0,8]") + "}", 8, "does not fit"},
      {"{\"a\":" + entry("F32", "[4611686018427387904,4]", "[0,0]") + "}", 0, "does not fit"},
      {"{\"a\":" + entry("F32", "[9223372036854775807,0,9]", "[0,0]") + "}", 0, "does not fit"},
      {"{\"a\":" + entry("F32", "[18446744073709551615]", "[0,8]") + "}", 8, "does not fit"},
      {"{\"a\":" + entry("F32", "[-2]", "[0,8]") + "}", 8, "whole numbers"},
      {"{\"a\":" + entry("F32", "[2.0]", "[0,8]") + "}", 8, "whole numbers"},
      {"{\"a\":" + entry("F32", "[2]", "[0]") + "}", 8, "offsets or shape"},
      {"{\"a\":" + entry("F32", "\"2\"", "[0,8]") + "}", 8, "lacks the list shape"},
      {"{\"a\":" + entry("C64", "[1]", "[0,8]") + "}", 8, "dtype is none of"},
      {"{\"a\":3}", 0, "lacks the list"},
      {"[1]", 0, "not a JSON object"},
      {"{\"a\":" + good, 8, "not valid JSON"},
      {"{\"a\":" + std::string(50, '['), 0, "nested deeper"},
      {"{\"\xff\":" + good + "}", 8, "not UTF-8"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(error_reading(folder / "f", file_of(c.header, c.bytes)),
                AllOf(HasSubstr(folder / "f"), HasSubstr(c.message)))
        << c.header;
  }
  for (const uint64_t length :
       {uint64_t{9}, uint64_t{100'000'001}, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    std::string text = file_of("{}      ", 0);
    std::memcpy(text.data(), &length, sizeof length);
    EXPECT_THAT(error_reading(folder / "f", text), HasSubstr("header would have"));
  }
  EXPECT_THAT(error_reading(folder / "f", "short"), HasSubstr("too short"));
  EXPECT_THAT(error_reading(folder / "f", file_of("{\"a\":" + entry("BOOL", "[1]", "[0,1]") + "}", 0) + "\x02"),
              HasSubstr("other than 0 and 1"));
}

TEST(Safetensors, MutatedFilesAreReadOrRefused) {
  const TemporaryFolder folder;
  write_safetensors(folder / "good", one_of_each(), {{"kind", "test"}});
  const std::string good = read_text(folder / "good");
  std::mt19937 random(5);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    for (auto edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % text.size();
      const std::string digits = "0123456789-[],{}:\"";
      if (random() % 8 == 0)
        text.resize(at + 1);
      else if (random() % 8 == 0)
        text.insert(at, 1 + random() % 9, '9');
      else
        text[at] = random() % 2 == 0 ? digits[random() % digits.size()] : static_cast<char>(random());
    }
    const std::string message = error_reading(folder / "f", text);
    refused += !message.empty();
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  EXPECT_GT(refused, 1000);
}

TEST(Safetensors, WritingRefusesWhatCannotBeRead) {
  const TemporaryFolder folder;
  const at::Tensor x = at::ones({2});
  EXPECT_THAT(error_of([&] {
                write_safetensors(folder / "f", {{"a", x}, {"a", x}});
              }),
              HasSubstr("two tensors are named a"));
  EXPECT_THAT(error_of([&] {
                write_safetensors(folder / "f", {{"a", x.to(at::kComplexFloat)}});
              }),
              HasSubstr("cannot be written"));
  EXPECT_THAT(error_of([&] { write_safetensors(folder / "absent/f", {{"a", x}}); }), HasSubstr("absent/f"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, FindTensorNamesWhatIsThere) {
  const NamedTensors tensors = {{"image", at::ones({1})}, {"text", at::ones({1})}};
  EXPECT_TRUE(at::equal(find_tensor(tensors, "text", "f"), at::ones({1})));
  EXPECT_THAT(error_of([&] { find_tensor(tensors, "texts", "f.st"); }),
              AllOf(HasSubstr("f.st"), HasSubstr("texts"), HasSubstr("image, text")));
}

TEST(SafetensorsRows, AreReadAsTheWholeFileIs) {
  const TemporaryFolder folder;
  write_safetensors(folder / "f", one_of_each());
  const SafetensorsFile file(folder / "f");
  EXPECT_TRUE(file.has("scalar"));
  EXPECT_FALSE(file.has("none"));
  for (const auto& [name, tensor] : one_of_each()) {
    EXPECT_TRUE(at::equal(file.read(name), tensor)) << name;
    if (tensor.dim() != 2 || tensor.size(0) < 4) continue;
    EXPECT_TRUE(at::equal(file.read_rows(name, 1, 3), tensor.narrow(0, 1, 3))) << name;
    EXPECT_EQ(file.read_rows(name, 5, 0).size(0), 0);
    EXPECT_THROW(file.read_rows(name, 3, 3), DataError);
    EXPECT_THROW(file.read_rows(name, -1, 1), DataError);
  }
  EXPECT_THROW(file.read_rows("scalar", 0, 1), DataError);
  EXPECT_THROW(file.read("none"), DataError);
}

// Written in two parts, the second first, it is the file that is written at once.
TEST(SafetensorsRows, WrittenInPartsAreTheWholeFile) {
  const TemporaryFolder folder;
  const at::Tensor ids = at::arange(7, at::kLong), rows = at::arange(21, at::kFloat).reshape({7, 3});
  write_safetensors(folder / "whole", {{"rows", rows}, {"ids", ids}});
  create_safetensors(folder / "parts", {{"rows", at::kFloat, {7, 3}}, {"ids", at::kLong, {7}}});
  write_safetensors_rows(folder / "parts", 4, {{"ids", ids.narrow(0, 4, 3)}, {"rows", rows.narrow(0, 4, 3)}});
  write_safetensors_rows(folder / "parts", 0, {{"ids", ids.narrow(0, 0, 4)}, {"rows", rows.narrow(0, 0, 4)}});
  EXPECT_EQ(read_bytes(folder / "parts"), read_bytes(folder / "whole"));
  EXPECT_THROW(write_safetensors_rows(folder / "parts", 5, {{"rows", rows.narrow(0, 0, 3)}}), DataError);
  EXPECT_THROW(write_safetensors_rows(folder / "parts", 0, {{"rows", ids}}), DataError);
  EXPECT_THROW(write_safetensors_rows(folder / "parts", 0, {{"rows", rows.narrow(1, 0, 2)}}), DataError);
  EXPECT_THROW(write_safetensors_rows(folder / "parts", 0, {{"other", rows}}), DataError);
  EXPECT_EQ(read_bytes(folder / "parts"), read_bytes(folder / "whole"));
}

}  // namespace
}  // namespace muster
