// Weight files that nobody honest would write, and damaged ones: each is refused with its reason, takes no memory
// beyond its own size and a constant, runs nothing and leaves nothing behind. Each is read in a process of its own, as
// a run reads it that starts from it.
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "launch/error.h"
#include "tests/support/file_bytes.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/torch_archive.h"
#include "trainer/encoders/model.h"
#include "trainer/encoders/published_weights.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kSlack = 64 * kMiB;  // what a refusal may take beyond the file's size
const std::string kHub = MUSTER_SOURCE_DIR "/tests/golden/weights/open_clip/hub/open_clip_model.safetensors";
const std::string kSix(24, '\0');  // a storage of six floats

struct Hostile {
  std::string name;
  std::string reason;  // in the message
  std::function<std::string()> bytes;
  bool python_runs_it = false;  // Python's own unpickler makes the file "ran"
};

std::ostream& operator<<(std::ostream& out, const Hostile& hostile) {
  return out << hostile.name;
}

std::string repeated(const std::string& text, size_t times) {
  std::string all;
  all.reserve(text.size() * times);
  for (size_t i = 0; i < times; ++i) all += text;
  return all;
}

// ---- safetensors

std::string with_length(uint64_t length, const std::string& header, size_t data_bytes = 0) {
  return little_endian(length, 8) + header + std::string(data_bytes, '\0');
}

std::string file_of(const std::string& header, size_t data_bytes = 0) {
  return with_length(header.size(), header, data_bytes);
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return '"' + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

// One tensor "a" and eight bytes.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return file_of("{" + entry("a", dtype, shape, offsets) + "}", 8);
}

std::string two(const std::string& name, const std::string& offsets, size_t data_bytes) {
  return file_of("{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry(name, "F32", "[2]", offsets) + "}", data_bytes);
}

std::string many_tensors(size_t count) {
  std::string header = "{";
  for (size_t i = 0; i < count; ++i) header += (i == 0 ? "" : ",") + entry(std::to_string(i), "F32", "[0]", "[0,0]");
  return file_of(header + "}");
}

// The hub's file with these tensors changed; those of no dimension are left out.
std::string changed(const NamedTensors& changes) {
  const TemporaryFolder folder;
  NamedTensors tensors = read_safetensors(kHub);
  for (const auto& [name, to] : changes) {
    const auto at =
        std::find_if(tensors.begin(), tensors.end(), [&, &n = name](const auto& t) { return t.first == n; });
    if (to.dim() == 0) {
      tensors.erase(at);
    } else {
      at->second = to;
    }
  }
  write_safetensors(folder / "f", tensors);
  const std::vector<uint8_t> bytes = read_bytes(folder / "f");
  return {bytes.begin(), bytes.end()};
}

// Few bytes, of which a model of this width would follow.
std::string small_file_of_a_wide_model() {
  const TemporaryFolder folder;
  constexpr int64_t kWidth = 16384;
  write_safetensors(folder / "f", {{"visual.class_embedding", at::zeros({1})},
                                   {"visual.conv1.weight", at::zeros({1, 3, 1, 1})},
                                   {"visual.positional_embedding", at::zeros({2, 1})},
                                   {"visual.proj", at::zeros({1, 1})},
                                   {"positional_embedding", at::zeros({2, 1})},
                                   {"token_embedding.weight", at::zeros({1, kWidth})},
                                   {"transformer.resblocks.0.ln_1.weight", at::zeros({1})},
                                   {"transformer.resblocks.0.attn.in_proj_weight", at::zeros({1})},
                                   {"transformer.resblocks.0.attn.in_proj_bias", at::zeros({1})}});
  const std::vector<uint8_t> bytes = read_bytes(folder / "f");
  return {bytes.begin(), bytes.end()};
}

std::vector<Hostile> safetensors_files() {
  const std::string good = entry("a", "F32", "[2]", "[0,8]");
  return {
      {"EmptyFile", "neither safetensors nor", [] { return std::string(); }},
      {"HeaderOf2To63Bytes", "its header would have 9223372036854775808 bytes",
       [] { return with_length(uint64_t{1} << 63, "{}"); }},
      {"HeaderCutOff", "or truncated: its header would have", [=] { return with_length(90, "{" + good); }},
      {"DataCutOff", "speaks of 8 bytes of tensors, the file holds 7", [=] { return file_of("{" + good + "}", 7); }},
      {"BytesBehindTheData", "speaks of 8 bytes of tensors, the file holds 9",
       [=] { return file_of("{" + good + "}", 9); }},
      {"OverlappingRanges", "tensor b overlaps another or leaves a hole", [] { return two("b", "[4,12]", 12); }},
      {"OneRangeTwice", "overlaps another", [] { return two("b", "[0,8]", 8); }},
      {"RangeThatIsMissing", "tensor b overlaps another or leaves a hole", [] { return two("b", "[12,20]", 20); }},
      {"RangeBeyondTheFile", "speaks of 16 bytes of tensors, the file holds 8", [] { return two("b", "[8,16]", 8); }},
      {"RangeReversed", "its shape does not fit", [] { return one("F32", "[2]", "[8,0]"); }},
      {"ShapeOf2To63", "its shape does not fit", [] { return one("F32", "[9223372036854775808]", "[0,8]"); }},
      {"ShapeThatOverflows", "its shape does not fit", [] { return one("F32", "[4294967296,4294967296]", "[0,0]"); }},
      {"ShapeBelowZero", "whole numbers from 0 up", [] { return one("F32", "[-2]", "[0,8]"); }},
      {"ShapeOf65Dimensions", "offsets or shape are not as they should be",
       [] { return one("F32", "[" + repeated("1,", 64) + "2]", "[0,8]"); }},
      {"UnknownType", "its dtype is none of", [] { return one("C64", "[1]", "[0,8]"); }},
      {"NameTwice", "appears twice in one object", [=] { return file_of("{" + good + "," + good + "}", 8); }},
      {"NameThatMovesTheCursor", "control characters",
       [] { return file_of("{" + entry("\\u001b[2J", "F32", "[2]", "[0,8]") + "}", 8); }},
      {"NameThatIsNoText", "not UTF-8", [] { return file_of("{" + entry("\xff", "F32", "[2]", "[0,8]") + "}", 8); }},
      {"HeaderOf100MB", "its safetensors header has 100000000 bytes, more than the 16777216",
       [] { return file_of("{\"a\":\"" + std::string(99'999'992, 'x') + "\"}"); }},
      {"HeaderOfOneText", "lacks the list shape",
       [] { return file_of("{\"a\":\"" + std::string(16 * kMiB - 8, 'x') + "\"}"); }},
      {"HeaderOfEmptyLists", "an entry of more than 20000 values",
       [] { return file_of("{\"a\":[" + repeated("[],", 5'500'000) + "[]]}"); }},
      {"HeaderOfManyNotes", "an entry of more than 20000 values",
       [] {
         std::string notes = "{\"__metadata__\":{";
         for (int i = 0; i < 1'200'000; ++i) notes += "\"" + std::to_string(i) + "\":0,";
         return file_of(notes + "\"\":0}}");
       }},
      {"HeaderNestedDeeply", "nested deeper", [] { return file_of("{\"a\":" + std::string(1'000'000, '[')); }},
      {"TensorsWithoutEnd", "more than 100000 entries", [] { return many_tensors(200'000); }},
      {"WeightsThatAreIntegers", "holds Long numbers; weights are floating-point",
       [] {
         return changed({{"ln_final.weight", at::zeros({32}, at::kLong)}});
       }},
      {"WeightsOfAnotherShape", "has shape [31], and this model needs [32]",
       [] {
         return changed({{"ln_final.weight", at::zeros({31})}});
       }},
      {"WeightThatIsMissing", "no tensor ln_final.bias, which this model needs",
       [] {
         return changed({{"ln_final.bias", at::zeros({})}});
       }},
      {"SmallFileOfAWideModel", "the file is damaged", small_file_of_a_wide_model},
  };
}

// ---- torch.save

std::string call(const std::string& function, const std::string& argument) {
  return "c" + function + "\n" + argument + "\x85R";
}

std::string dict(const std::vector<std::pair<std::string, PickledTensor>>& tensors) {
  std::string pickle = "}(";
  for (const auto& [name, tensor] : tensors) pickle += pickled(name) + pickled(tensor);
  return pickle + "u";
}

std::string tensor_file(const PickledTensor& tensor) {
  return torch_archive(dict({{"w", tensor}}), {kSix});
}

// An entry that is packed, `unpacked` zeros, among others that are not.
std::string bomb(const std::string& name, size_t unpacked,
                 const std::vector<std::pair<std::string, std::string>>& others) {
  std::string packed(unpacked / 128, '\0');
  {
    std::string zeros(kMiB, '\0');
    z_stream stream{};
    deflateInit2(&stream, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY);
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    for (size_t done = 0; done < unpacked; done += zeros.size()) {
      stream.next_in = reinterpret_cast<Bytef*>(zeros.data());
      stream.avail_in = static_cast<uInt>(zeros.size());
      deflate(&stream, done + zeros.size() < unpacked ? Z_NO_FLUSH : Z_FINISH);
    }
    packed.resize(stream.total_out);
    deflateEnd(&stream);
  }
  std::vector<std::pair<std::string, std::string>> entries = others;
  entries.emplace_back(name, packed);
  std::string zip = stored_zip(entries);
  for (const size_t to_method : {zip.rfind("PK\3\4", zip.rfind("PK\1\2")) + 8, zip.rfind("PK\1\2") + 10}) {
    zip[to_method] = 8;                                          // deflated
    zip.replace(to_method + 14, 4, little_endian(unpacked, 4));  // its size, behind the packed one's
  }
  return zip;
}

std::vector<Hostile> pickles_with_code() {
  // The test's folder is the child's and Python's working directory.
  const std::string touch = pickled(std::string("touch ran"));
  const std::string python = pickled(std::string("open('ran', 'w')"));
  const auto code = [](const std::string& name, const std::string& function, const std::string& argument) {
    return Hostile{name, "holds code to run (", [=] { return torch_archive(call(function, argument)); }, true};
  };
  const std::string system = call("os\nsystem", touch);
  return {
      code("CallsOsSystem", "os\nsystem", touch),
      code("CallsPosixSystem", "posix\nsystem", touch),
      code("CallsEval", "builtins\neval", python),
      code("CallsExec", "builtins\nexec", python),
      code("CallsPopen", "os\npopen", touch),
      code("CallsSubprocess", "subprocess\ngetoutput", touch),
      code("CallsTheShell", "subprocess\ngetstatusoutput", touch),
      {"CallsOsSystemAsAWeight", "holds code to run (os.system)",
       [=] { return torch_archive("}" + pickled("w") + system + "s"); }, true},
      {"CallsOsSystemAsAKey", "holds code to run (os.system)", [=] { return torch_archive("}" + system + "Ns"); },
       true},
      {"CallsOsSystemBehindAStateDict", "holds code to run (os.system)",
       [=] {
         return torch_archive(
             "}(" + pickled("state_dict") + dict({{"w", {"0", 6, 0, {6}, {1}}}}) + pickled("x") + system + "u", {kSix});
       }},
      {"CallsOsSystemInAModule", "holds code to run (os.system)",
       [=] { return torch_archive("c__torch__\nA\n)\x81}" + pickled("w") + system + "sb"); }},
      {"MakesAnObjectByCode", "holds code to run (builtins.exec)",
       [=] { return torch_archive("cbuiltins\nexec\n" + python + "\x85\x81"); }},
      {"NamesAClassByText", "opcode 0x93",
       [=] { return torch_archive(pickled("os") + pickled("system") + "\x93" + touch + "\x85R"); }, true},
      {"TakesAnInstruction_i", "opcode 0x69", [=] { return torch_archive("(" + touch + "ios\nsystem\n"); }, true},
      {"TakesAnInstruction_o", "holds code to run (os.system)",
       [=] { return torch_archive("(cos\nsystem\n" + touch + "o"); }, true},
      {"OldFormat", "written by a PyTorch before 1.6",
       [=] { return "\x80\2\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2" + system + "."; }},
      {"BarePickle", "neither safetensors nor a file of torch.save", [=] { return "\x80\2" + system + "."; }},
  };
}

std::vector<Hostile> torch_files() {
  constexpr int64_t kHuge = int64_t{1} << 62;
  const std::string good = dict({{"w", {"0", 6, 0, {6}, {1}}}});
  return {
      {"StorageOf2To62", "in a storage of 4611686018427387904 elements, and that has 24 bytes",
       [=] {
         return tensor_file({"0", kHuge, 0, {kHuge}, {1}});
       }},
      {"StorageOfAnotherType", "and that has 24 bytes",
       [] {
         return tensor_file({"0", 6, 0, {6}, {1}, "DoubleStorage"});
       }},
      {"StorageThatIsMissing", "has no storage in the archive",
       [] {
         return tensor_file({"7", 6, 0, {6}, {1}});
       }},
      {"StorageOutsideTheArchive", "has no storage in the archive",
       [] {
         return tensor_file({"../../../../../../etc/passwd", 6, 0, {6}, {1}});
       }},
      {"ViewBeyondItsStorage", "reaches beyond its storage",
       [] {
         return tensor_file({"0", 6, 4, {3}, {1}});
       }},
      {"ViewOf2To62ByStrides", "reaches beyond its storage",
       [=] {
         return tensor_file({"0", 6, 0, {kHuge}, {0}});
       }},
      {"ViewWithAStrideThatOverflows", "reaches beyond its storage",
       [=] {
         return tensor_file({"0", 6, 0, {3, 3}, {kHuge, kHuge}});
       }},
      {"TensorTwice", "tensor w is there twice",
       [] {
         return torch_archive(dict({{"w", {"0", 6, 0, {6}, {1}}}, {"w", {"0", 6, 0, {6}, {1}}}}), {kSix});
       }},
      {"NoTensors", "holds no dict of tensors", [] { return torch_archive("}" + pickled("epoch") + "K\3s"); }},
      {"ZipSlip", "no CLIP that Muster knows",
       [=] {
         return stored_zip(
             {{"a/data.pkl", "\x80\2" + good + "."}, {"a/data/0", kSix}, {"../../slipped", "x"}, {"/slipped", "x"}});
       }},
      {"ZipSlipOfThePickle", "none of PyTorch's",
       [=] {
         return stored_zip({{"../../a/data.pkl", "\x80\2" + good + "."}, {"../../a/data/0", kSix}});
       }},
      {"ZipBombAsPickle", "it has no uncompressed data.pkl", [] { return bomb("a/data.pkl", 1U << 28, {}); }},
      {"ZipBombAsStorage", "has no storage in the archive",
       [=] {
         const std::string pickle = "\x80\2" + dict({{"w", {"0", kHuge >> 36, 0, {kHuge >> 36}, {1}}}}) + ".";
         return bomb("a/data/0", 1U << 28, {{"a/data.pkl", pickle}});
       }},
      {"ZipWithAPickleTwice", "not a whole zip archive (File already exists)",
       [=] {
         return stored_zip({{"a/data.pkl", "\x80\2" + good + "."}, {"a/data.pkl", "x"}, {"a/data/0", kSix}});
       }},
      {"ZipWithAStorageTwice", "not a whole zip archive (File already exists)",
       [=] {
         return stored_zip({{"a/data.pkl", "\x80\2" + good + "."}, {"a/data/0", kSix}, {"a/data/0", kSix}});
       }},
      {"ZipThatClaimsMore", "not a whole zip archive",
       [=] {
         return stored_zip({{"a/data.pkl", good}}, 1 << 30);
       }},
      {"ZipCutOff", "not a whole zip archive",
       [=] {
         const std::string whole = torch_archive(good, {kSix});
         return whole.substr(0, whole.size() - 30);
       }},
      {"ZipOfALargeDirectory", "its zip directory has",
       [] {
         std::vector<std::pair<std::string, std::string>> entries(65'000);
         for (size_t i = 0; i < entries.size(); ++i) entries[i].first = std::string(100, 'x') + std::to_string(i);
         return stored_zip(entries);
       }},
      {"PickleOfAnotherProtocol", "its protocol is not 2",
       [] {
         return stored_zip({{"a/data.pkl", "\x80\4."}});
       }},
      {"PickleCutOff", "it ends too early",
       [=] {
         return stored_zip({{"a/data.pkl", "\x80\2" + good.substr(0, good.size() / 2)}});
       }},
      {"PickleOfMarks", "its pickle holds more than", [] { return torch_archive(std::string(30 * kMiB, '(')); }},
      {"PickleOfNothing", "its pickle holds more than", [] { return torch_archive(std::string(30 * kMiB, 'N')); }},
      {"PickleOfMemos", "its pickle holds more than 262144 places in its memo",
       [] {
         std::string pickle = "N";
         for (uint64_t i = 0; i < 6 * kMiB; ++i) pickle += "r" + little_endian(i, 4);
         return torch_archive(pickle);
       }},
      {"PickleOfOneValueAgainAndAgain", "its pickle holds more than",
       [] { return torch_archive("Nq\1" + repeated("h\1", 15 * kMiB) + "t"); }},
      {"PickleLargerThanAnyModels", "has 33554436 bytes, more than the 33554432",
       [] { return torch_archive(std::string((32 * kMiB) + 1, 'N')); }},
      {"PickleNestedDeeply", "nested deeper than 64 levels",
       [] { return torch_archive(")" + repeated("\x85", 200'000)); }},
      {"PickleThatHoldsItself", "a value that holds itself", [] { return torch_archive("]q\1h\1a"); }},
      {"NumbersInAnotherOrder", "not little-endian",
       [] {
         return stored_zip({{"a/data.pkl", "\x80\2}."}, {"a/byteorder", "big"}});
       }},
  };
}

std::vector<Hostile> hostile_files() {
  std::vector<Hostile> all = safetensors_files();
  for (const Hostile& hostile : pickles_with_code()) all.push_back(hostile);
  for (const Hostile& hostile : torch_files()) all.push_back(hostile);
  return all;
}

// ---- reading in a process of its own

// A number of /proc/self/status in bytes.
int64_t status(const std::string& field) {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;) {
    int64_t kib = 0;
    if (word == field + ":" && file >> kib) return kib * 1024;
  }
  return 0;
}

// As a run starts from a file.
void load(const std::string& path) {
  ModelConfig config;
  config.set_activation(ModelConfig::GELU);
  config.mutable_image()->set_heads(1);
  config.mutable_text()->set_heads(1);
  const ModelConfig resolved = resolve_model(complete_from_published(config, path));
  const PublishedModel published(path);
  published.check_agrees(resolved);
  const std::shared_ptr<Model> model = make_model(resolved, 1);
  NamedTensors tensors;
  for (const auto& parameter : model->named_parameters()) {
    tensors.emplace_back(parameter.key(), parameter.value().detach());
  }
  copy_published(published, {{"logit_scale"}, [](const std::string&, const at::Tensor& table) { return table; }},
                 tensors);
}

struct Outcome {
  int64_t peak = 0;  // bytes that were in memory beyond those before
  std::string said;  // "refused: ...", "taken", or what else happened
};

Outcome load_alone(const std::string& folder, const std::string& path) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("no pipe");
  const pid_t child = fork();
  if (child == 0) {
    alarm(120);
    if (chdir(folder.c_str()) != 0) _exit(1);
    std::ofstream("/proc/self/clear_refs") << 5;  // the most so far is now
    const int64_t before = status("VmHWM"), file = static_cast<int64_t>(fs::file_size(path));
    const auto most = static_cast<rlim_t>(status("VmData") + file + kSlack);
    const rlimit limit{most, most};  // holds for memory that is asked for and not touched, too
    setrlimit(RLIMIT_DATA, &limit);
    std::string said = "taken";
    try {
      load(path);
    } catch (const Error& error) {
      said = "refused: " + std::string(error.what());
    } catch (const std::exception& error) {
      said = "stopped: " + std::string(error.what());
    }
    const std::string line = std::to_string(status("VmHWM") - before) + " " + said;
    _exit(write(ends[1], line.data(), line.size()) < 0 ? 1 : 0);
  }
  close(ends[1]);
  std::string line(1 << 16, '\0');
  const ssize_t bytes = read(ends[0], line.data(), line.size());
  line.resize(static_cast<size_t>(std::max<ssize_t>(bytes, 0)));
  close(ends[0]);
  int ended = 0;
  waitpid(child, &ended, 0);
  if (ended != 0 || line.empty()) return {0, "ended with status " + std::to_string(ended)};
  return {std::stoll(line), line.substr(line.find(' ') + 1)};
}

class HostileWeights : public testing::TestWithParam<Hostile> {};

TEST_P(HostileWeights, AreRefusedForTheirReasonWithinTheirSize) {
  at::set_num_threads(1);
  const TemporaryFolder folder;
  const std::string path = folder / "f.pt";
  {
    const std::string bytes = GetParam().bytes();
    write_bytes(path, {bytes.begin(), bytes.end()});
  }
  const auto size = static_cast<int64_t>(fs::file_size(path));
  const Outcome outcome = load_alone(folder.path(), path);
  EXPECT_THAT(outcome.said,
              testing::AllOf(testing::StartsWith("refused: "), HasSubstr(path), HasSubstr(GetParam().reason)));
  EXPECT_EQ(outcome.said.find('\n'), std::string::npos) << outcome.said;
  EXPECT_LE(outcome.said.size(), 1000U);
  EXPECT_LE(outcome.peak, size + kSlack);
  const auto files = std::distance(fs::directory_iterator(folder.path()), {});
  EXPECT_EQ(files, 1) << "something was made beside the file";
  RecordProperty("peak_beyond_file_kib", static_cast<int>(std::max<int64_t>(outcome.peak - size, 0) / 1024));
}

INSTANTIATE_TEST_SUITE_P(Each, HostileWeights, testing::ValuesIn(hostile_files()),
                         [](const auto& tested) { return tested.param.name; });

TEST(HostileWeightsTable, AGoodFileIsTakenTheSameWay) {
  at::set_num_threads(1);
  const TemporaryFolder folder;
  const std::string bytes = changed({});
  write_bytes(folder / "f.pt", {bytes.begin(), bytes.end()});
  EXPECT_EQ(load_alone(folder.path(), folder / "f.pt").said, "taken");
}

// They are what they claim to be: Python's own unpickler runs what is in them.
TEST(HostileWeightsTable, PythonRunsThePickles) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  std::vector<std::string> arguments{folder.path()};
  for (const Hostile& hostile : pickles_with_code()) {
    if (!hostile.python_runs_it) continue;
    const std::string bytes = hostile.bytes();
    write_bytes(folder / hostile.name, {bytes.begin(), bytes.end()});
    arguments.push_back(hostile.name);
  }
  ASSERT_GE(arguments.size(), 10U);
  run_reference_python(R"(
import os, pickle, sys, time, zipfile
os.chdir(sys.argv[1])
for name in sys.argv[2:]:
    try:
        pickle.loads(zipfile.ZipFile(name).read('archive/data.pkl'))
    except Exception:
        pass  # after the call
    for _ in range(1000):
        if os.path.exists('ran'): break
        time.sleep(0.01)
    assert os.path.exists('ran'), name
    os.remove('ran')
)",
                       arguments);
}

}  // namespace
}  // namespace muster
