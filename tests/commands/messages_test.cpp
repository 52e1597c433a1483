// What a user reads when something is wrong: one line that says what, where and what to do; a non-zero exit code;
// nothing half-written. tests/golden/messages.txt holds the lines; DIR stands for the test's folder.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "dataloader/image.h"
#include "dataloader/store.h"
#include "tests/support/child_process.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"
#include "tests/support/torch_archive.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

constexpr char kConfig[] = R"(
model {
  preset: MINI
  image { width_pixels: 16 height_pixels: 16 width: 24 layers: 1 heads: 2 }
  text { context: 12 width: 24 layers: 1 heads: 2 }
  joint_width: 16
}
objective { term { info_nce {} } }
train { global_batch: 8 steps: 4 threads: 1 }
)";

void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

void flip_byte(const std::string& path, size_t place) {
  std::string bytes = read(path);
  bytes.at(place) = static_cast<char>(bytes.at(place) ^ 1);
  write(path, bytes);
}

// The cases of the golden file: "== name", then the lines printed.
std::map<std::string, std::string> golden_messages() {
  std::ifstream file(MUSTER_SOURCE_DIR "/tests/golden/messages.txt");
  std::map<std::string, std::string> messages;
  std::string name;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("== ", 0) == 0) {
      name = line.substr(3);
    } else if (!name.empty()) {
      messages[name] += line + "\n";
    }
  }
  return messages;
}

class MessagesTest : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_store(store(), 12);
    write(folder_ / "config.textproto", kConfig);
    const std::vector<uint8_t> jpeg = encode_jpeg({8, 8, std::vector<uint8_t>(192, 100)}, 90);
    write(folder_ / "good.jpg", std::string(jpeg.begin(), jpeg.end()));
    write(folder_ / "short.jpg", std::string(jpeg.begin(), jpeg.begin() + static_cast<int64_t>(jpeg.size()) - 40));
    write(folder_ / "text.jpg", "no picture");
  }

  std::string store() const { return folder_ / "store"; }

  // The one shard of the store.
  std::string shard() const {
    for (const auto& entry : fs::directory_iterator(store())) {
      if (entry.path().extension() == ".h5") return entry.path();
    }
    return "";
  }

  std::vector<std::string> train(const std::string& run = "run", std::vector<std::string> more = {}) const {
    std::vector<std::string> argv = {muster_program(), "train", "--config", folder_ / "config.textproto",
                                     "--data",         store(), "--run",    folder_ / run};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  }

  std::vector<std::string> train_with(const std::string& setting) const { return train("run", {"--set", setting}); }

  // Imports a manifest of this one line.
  std::vector<std::string> import_line(const std::string& line) const {
    write(folder_ / "m.jsonl", line + "\n");
    return {muster_program(), "import", "jsonl", folder_ / "m.jsonl", "--out", folder_ / "imported"};
  }

  // Runs a command that must fail, and compares what it says with the golden line.
  void expect_message(const std::string& name, const std::vector<std::string>& argv, int exit_code = 2) {
    const ProgramResult result = run_program(argv);
    EXPECT_EQ(result.exit_code, exit_code) << name << ": " << result.output;
    std::string said;
    std::istringstream lines(result.output);
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("muster: ", 0) == 0) said += line + "\n";
    }
    said = without_folder(said);
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << name << ": " << result.output;
    EXPECT_EQ(said, messages_[name]) << "== " << name << "\n" << said;
    EXPECT_FALSE(fs::exists(folder_ / "imported")) << name;
    EXPECT_FALSE(fs::exists(folder_ / "imported.partial")) << name;
  }

  // Runs a command that goes on, and compares the warnings and errors that it logs with the golden lines.
  void expect_logged(const std::string& name, const std::vector<std::string>& argv) {
    const ProgramResult result = run_program(argv);
    EXPECT_EQ(result.exit_code, 0) << name << ": " << result.output;
    std::string said;
    std::istringstream lines(result.output);
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("W ", 0) == 0 || line.rfind("E ", 0) == 0) said += line.substr(11) + "\n";  // without its time
    }
    EXPECT_EQ(without_folder(said), messages_[name]) << "== " << name << "\n" << without_folder(said);
  }

  std::string without_folder(std::string said) const {
    for (size_t at = said.find(folder_.path()); at != std::string::npos; at = said.find(folder_.path())) {
      said.replace(at, folder_.path().size(), "DIR");
    }
    return said;
  }

  TemporaryFolder folder_;
  std::map<std::string, std::string> messages_ = golden_messages();
};

TEST_F(MessagesTest, Config) {
  expect_message("unknown command", {muster_program(), "tran"});
  expect_message("unknown flag", train("run", {"--sett", "a=b"}));
  expect_message("no config", {muster_program(), "train", "--config", folder_ / "absent", "--data", store(), "--run",
                               folder_ / "run"});
  expect_message("unknown override", train_with("train.global_bach=4"));
  expect_message("mistyped override", train_with("train.global_batch=many"));
  expect_message("steps and epochs", train_with("train.epochs=3"));
  expect_message("patch", train_with("model.image.patch=5"));
  expect_message("fewer words than the tokenizer's", train_with("model.text.vocabulary=300"));
  expect_message("endless weight", train_with("objective.term[0].weight=inf"));
  expect_message("no objective", {muster_program(), "bench", "loss", "--objective", "garbage"});
  expect_message("objective of no loss", {muster_program(), "bench", "loss", "--objective", "term { sdn { } }"});
  const auto with_config = [&](const std::string& name, const std::string& text) {
    write(folder_ / "config.textproto", text);
    expect_message(name, train());
  };
  with_config("unknown field", std::string(kConfig) + "trian { seed: 1 }\n");
  with_config("duplicate field", "train { seed: 1 seed: 2 }\n");
  with_config("mistyped field", "train { seed: \"one\" }\n");
  with_config("syntax", "train { seed: \n");
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

TEST_F(MessagesTest, Import) {
  expect_message("no manifest",
                 {muster_program(), "import", "jsonl", folder_ / "absent.jsonl", "--out", folder_ / "imported"});
  expect_message("not JSON", import_line("{\"image\": "));
  expect_message("wrong type", import_line(R"({"image": 3, "captions": ["a"]})"));
  expect_message("absent image", import_line(R"({"image": "absent.jpg", "captions": ["a"]})"));
  expect_message("not an image", import_line(R"({"image": "text.jpg", "captions": ["a"]})"));
  expect_message("truncated image", import_line(R"({"image": "short.jpg", "captions": ["a"]})"));
  std::string jpeg = read(folder_ / "good.jpg");
  write(folder_ / "warned.jpg", jpeg.insert(jpeg.size() - 2, 40, 'x'));
  std::vector<std::string> strict = import_line(R"({"image": "warned.jpg", "captions": ["a"]})");
  strict.emplace_back("--strict");
  expect_message("image with a decoder's warning", strict);
  expect_message("caption not UTF-8", import_line("{\"image\": \"good.jpg\", \"captions\": [\"\xff\xfe\"]}"));
  expect_message("empty caption", import_line(R"({"image": "good.jpg", "captions": [""]})"));
  expect_message("leaves the root", import_line(R"({"image": "../good.jpg", "captions": ["a"]})"));
  expect_message("unknown split", import_line(R"({"image": "good.jpg", "captions": ["a"], "split": "tran"})"));
  expect_message("empty manifest", import_line(""));
  expect_message("name with a line end", import_line(R"({"image": "a\nb\u001b[31m.jpg", "captions": ["a"]})"));
  expect_message("argument with a line end", {muster_program(), "import", "jsonl", "m.jsonl", "--threads", "1\n2"});
  std::vector<std::string> unnamed = import_line(R"({"image": "good.jpg", "captions": ["a"]})");
  unnamed.back().clear();
  expect_message("store without a name", unnamed);
}

TEST_F(MessagesTest, ImportOfTables) {
  const auto csv = [&](const std::string& text, std::vector<std::string> more = {}) {
    write(folder_ / "m.csv", text);
    std::vector<std::string> argv = {muster_program(),  "import", "csv",
                                     folder_ / "m.csv", "--out",  folder_ / "imported"};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  };
  expect_message("csv without columns", csv("a,b\ngood.jpg,a\n"));
  expect_message("csv with two image columns", csv("image,path,caption\ngood.jpg,good.jpg,a\n"));
  expect_message("csv with too many fields", csv("image,caption\ngood.jpg,a, b\n"));
  expect_message("csv with an open quote", csv("image,caption\ngood.jpg,\"a\n"));
  expect_message("csv not UTF-8", csv("image,caption\ngood.jpg,\xff\n"));
  expect_message("csv in UTF-16", csv(std::string("\xff\xfei\0m\0", 6)));
  expect_message("csv with a blank caption", csv("image,caption\ngood.jpg, \n"));
  expect_message("csv with an absent image", csv("image,caption\nabsent.jpg,a\n"));
  expect_message("csv with a truncated image", csv("image,caption\nshort.jpg,a\n"));
  expect_message("csv out of the root", csv("image,caption\n/etc/passwd,a\n"));
  expect_message("csv with two identities", csv("image,caption,id\ngood.jpg,a,1\ngood.jpg,b,2\n"));
  expect_message("csv with a long delimiter", csv("image,caption\ngood.jpg,a\n", {"--delimiter", "ab"}));
  expect_message("too many held out", csv("image,caption\ngood.jpg,a\n", {"--holdout-identities", "1"}));
  expect_message("negative seed", {muster_program(), "synth", "--identities", "9", "--views", "2", "--seed", "-1",
                                   "--out", folder_ / "imported"});
}

TEST_F(MessagesTest, ImportOfRegions) {
  const std::string set = MUSTER_SOURCE_DIR "/tests/golden/regions";
  fs::copy(set, folder_ / "regions", fs::copy_options::recursive);
  const auto regions = [&](const std::string& path, std::vector<std::string> more) {
    std::vector<std::string> argv = {muster_program(),    "import", "regions", folder_ / ("regions/" + path), "--out",
                                     folder_ / "imported"};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  };
  const std::string captions = folder_ / "regions/dataset.json";
  expect_message("regions without captions", regions("regions.tsv", {"--format", "tsv"}));
  expect_message("regions of an unknown format", regions("regions.tsv", {"--format", "lmdb"}));
  expect_message("captions of scan", regions("scan", {"--format", "scan", "--captions", captions}));
  expect_message("sizes of a tsv",
                 regions("regions.tsv", {"--format", "tsv", "--captions", captions, "--sizes", captions}));
  expect_message("regions without sizes", regions("", {"--format", "npz", "--captions", captions}));
  expect_message("other number of regions",
                 regions("regions.tsv", {"--format", "tsv", "--captions", captions, "--regions", "36"}));
  write(folder_ / "regions/silent.json", R"({"images": [{"filename": "a.jpg", "split": "val", "sentences": []}]})");
  expect_message("image without captions",
                 regions("hdf5", {"--format", "hdf5", "--captions", folder_ / "regions/silent.json"}));
  const std::string row = "\t40\t30\t1\t" + std::string(22, 'A') + "==\t";
  write(folder_ / "regions/width.tsv",
        "17" + row + std::string(22, 'A') + "==\n18" + row + std::string(16, 'A') + "\n");
  expect_message("other width of features", regions("width.tsv", {"--format", "tsv", "--captions", captions}));
  expect_message("views of a scene", {muster_program(), "synth", "--regions", "8", "--identities", "9", "--views", "2",
                                      "--out", folder_ / "imported"});
  expect_message("ceiling of scenes", {muster_program(), "synth", "--regions", "8", "--identities", "9", "--views", "1",
                                       "--ceiling", "--out", folder_ / "imported"});
  const std::string without_pictures = folder_ / "without_pictures";
  const ProgramResult made = run_program({muster_program(), "import", "regions", folder_ / "regions/regions.tsv",
                                          "--format", "tsv", "--captions", captions, "--out", without_pictures});
  ASSERT_EQ(made.exit_code, 0) << made.output;
  const auto inspect = [&](const std::string& config) {
    return std::vector<std::string>{muster_program(), "inspect", without_pictures, "--augmented", folder_ / "a.html",
                                    "--config",       config};
  };
  expect_message("no pictures to augment", inspect(folder_ / "config.textproto"));
  fs::copy_file(MUSTER_SOURCE_DIR "/configs/teran_demo.textproto", folder_ / "teran.textproto");
  expect_message("regions to augment", inspect(folder_ / "teran.textproto"));
}

TEST_F(MessagesTest, ImportOfRegionsInHdf5) {
  const std::string set = MUSTER_SOURCE_DIR "/tests/golden/regions";
  fs::copy(set + "/hdf5", folder_ / "good");
  fs::copy(set + "/dataset.json", folder_ / "dataset.json");
  // Of the image 17 in train3.hdf5.
  constexpr size_t kFeatures = 2048 + 48, kBoxes = 2144 + 48;
  const auto expect = [&](const std::string& name, const std::function<void(const std::string&)>& change,
                          std::vector<std::string> more = {}) {
    fs::remove_all(folder_ / "set");
    fs::copy(folder_ / "good", folder_ / "set");
    change(folder_ / "set/");
    std::vector<std::string> argv = {
        muster_program(),         "import", "regions",           folder_ / "set", "--format", "hdf5", "--captions",
        folder_ / "dataset.json", "--out",  folder_ / "imported"};
    argv.insert(argv.end(), more.begin(), more.end());
    expect_message(name, argv);
  };
  const auto expect_with = [&](const std::string& name, size_t place, float value) {
    expect(name, [&](const std::string& folder) {
      std::string bytes = read(folder + "train3.hdf5");
      bytes.replace(place, sizeof value, reinterpret_cast<const char*>(&value), sizeof value);
      write(folder + "train3.hdf5", bytes);
    });
  };
  expect_with("feature that is NaN", kFeatures + 4 * 6, std::nanf(""));
  expect_with("feature beyond float16", kFeatures, 70000);
  expect_with("box turned round", kBoxes, 11);
  expect_with("box outside its image", kBoxes, -3);
  const auto nothing = [](const std::string&) {};
  expect("wrong number of regions", nothing, {"--regions", "36"});
  expect("sizes without a list", nothing, {"--sizes", folder_ / "good.jpg"});
  expect("regions without their index", [](const std::string& folder) { fs::remove(folder + "train3_imgid2idx.pkl"); });
  expect("index that is code",
         [](const std::string& folder) { write(folder + "train3_imgid2idx.pkl", "cos\nsystem\n(S'true'\ntR."); });
  expect("index beyond the rows",
         [](const std::string& folder) { write(folder + "train3_imgid2idx.pkl", "(dp0\nI17\nI2\ns."); });
  expect("index without an image",
         [](const std::string& folder) { write(folder + "train3_imgid2idx.pkl", "(dp0\nI19\nI1\ns."); });
  expect("image in two files", [](const std::string& folder) {
    for (const char* end : {".hdf5", "_imgid2idx.pkl"}) fs::copy(folder + "val" + end, folder + "val2" + end);
  });
  expect("no HDF5", [](const std::string& folder) { write(folder + "train3.hdf5", "no HDF5"); });
  expect("folder without HDF5", [](const std::string& folder) {
    for (const char* name : {"train3.hdf5", "val.hdf5"}) fs::remove(folder + name);
  });
}

TEST_F(MessagesTest, ImportOfPublishedSets) {
  const auto set = [&](const std::string& name, const std::string& text) {
    fs::create_directories(folder_ / "set/imgs");
    write(folder_ / "set/reid_raw.json", text);
    return std::vector<std::string>{muster_program(), "import", name, folder_ / "set", "--out", folder_ / "imported"};
  };
  expect_message("list without splits", set("cuhk-pedes", R"([{"id": 1, "file_path": "a.jpg", "captions": ["a"]}])"));
  expect_message("another set's folder", set("rstpreid", "[]"));
  expect_message("not a list", set("cuhk-pedes", "{}"));
  expect_message("list cut short", set("cuhk-pedes", R"([{"id": 1, "file_path": "a.jpg")"));
  expect_message("captions of a wrong type",
                 set("cuhk-pedes", R"([{"id": 1, "file_path": "a.jpg", "captions": "a", "split": "train"}])"));
  const auto tar = [&](const std::string& bytes) {
    write(folder_ / "x.tar", bytes);
    return std::vector<std::string>{muster_program(),  "import", "webdataset",
                                    folder_ / "x.tar", "--out",  folder_ / "imported"};
  };
  expect_message("not a tar", tar(std::string(600, 'x')));
  expect_message("tar of nothing", tar(""));
  expect_message("compressed tar", tar("\x1f\x8b\x08 gzip"));
  expect_message("absent tar",
                 {muster_program(), "import", "webdataset", folder_ / "y-{0..3}.tar", "--out", folder_ / "imported"});
}

TEST_F(MessagesTest, DoctorOfWhatIsNoDataSet) {
  const auto doctor = [&](const std::string& path) {
    return std::vector<std::string>{muster_program(), "doctor", "data", folder_ / path};
  };
  expect_message("doctor of nothing", doctor("absent"));
  fs::create_directories(folder_ / "folder");
  expect_message("doctor of an empty folder", doctor("folder"));
  write(folder_ / "folder/notes.txt", "a\n");
  expect_message("doctor of another folder", doctor("folder"));
  expect_message("doctor of a picture", doctor("good.jpg"));
  write(folder_ / "folder/x.tar.gz", "\x1f\x8b\x08 gzip");
  expect_message("doctor of a compressed file", doctor("folder/x.tar.gz"));
  write(folder_ / "folder/a.csv", "image,caption\n");
  write(folder_ / "folder/b.jsonl", "{}");
  expect_message("doctor of two lists", doctor("folder"));
  write(folder_ / "folder/list.json", "[1]");
  expect_message("doctor of a list of another name", doctor("folder/list.json"));
  fs::create_directories(folder_ / "set");
  write(folder_ / "set/caption_all.json", R"([{"id": 1, "file_path": "a.jpg", "captions": ["a"]}])");
  expect_message("doctor of caption_all.json", doctor("set"));
}

TEST_F(MessagesTest, PublishedWeights) {
  const auto weights = [&](const std::string& bytes) {
    write(folder_ / "w.pt", bytes);
    return train_with("train.init.weights=" + (folder_ / "w.pt"));
  };
  const auto golden = [&](const std::string& name) { return read(MUSTER_SOURCE_DIR "/tests/golden/weights/" + name); };
  expect_message("no weights", train_with("train.init.weights=" + (folder_ / "absent.pt")));
  expect_message("weights and a run",
                 train("run", {"--set", "train.init.weights=w.pt", "--set", "train.init.run=run"}));
  expect_message("weights of no known format", weights("no weights"));
  expect_message("weights of an old PyTorch", weights("\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\2M\xe9\3."));
  expect_message("weights cut short", weights(golden("openai/clip.pt").substr(0, 200'000)));
  expect_message("weights that hold code", weights(torch_archive("cos\nsystem\n" + pickled("rm -rf /") + "\x85R")));
  expect_message("weights nested deeply", weights(torch_archive(std::string(5000, ']') + std::string(4999, 'a'))));
  expect_message("weights that hold themselves", weights(torch_archive("]q\1h\1a")));
  expect_message("weights of a lying storage",
                 weights(torch_archive(
                     "}" + pickled("w") + pickled(PickledTensor{"0", 1 << 30, 0, {1 << 30}, {1}}) + "s", {"four"})));
  expect_message(
      "weights beyond their storage",
      weights(torch_archive("}" + pickled("w") + pickled(PickledTensor{"0", 1, 0, {2}, {1}}) + "s", {"four"})));
  expect_message(
      "weights of no CLIP",
      weights(torch_archive("}" + pickled("w") + pickled(PickledTensor{"0", 1, 0, {1}, {1}}) + "s", {"four"})));
  expect_message("weights of another model", weights(golden("openai/clip.pt")));
  write(folder_ / "bare.textproto",
        "model { image { width_pixels: 16 height_pixels: 32 } } objective { term { info_nce {} } } "
        "train { global_batch: 8 steps: 4 threads: 1 }");
  std::vector<std::string> from_irra = weights(golden("irra/best.pth"));
  from_irra[3] = folder_ / "bare.textproto";
  expect_message("weights of a small vocabulary", from_irra);
}

// Each rank meets the first bad row; one line is said.
TEST_F(MessagesTest, ImportUnderMpirun) {
  std::string lines;
  for (int i = 0; i < 3; ++i)
    lines += R"({"image": "absent.jpg", "captions": ["a"]})"
             "\n";
  expect_message("absent image", under_mpirun(3, import_line(lines)));
}

TEST_F(MessagesTest, Store) {
  expect_message("no store", {muster_program(), "train", "--config", folder_ / "config.textproto", "--data",
                              folder_ / "absent", "--run", folder_ / "run"});
  expect_message("fewer samples than the batch", train_with("train.global_batch=64"));
  expect_message("fewer identities than the batch",
                 train("run", {"--set", "train.global_batch=18", "--set", "data.sampler={ identity { samples: 2 } }"}));
  expect_message("times of a store", train("run", {"--data", folder_ / "other:0"}));
  expect_message("a store twice", train("run", {"--data", store() + ":2"}));
  expect_message("more ranks than samples", under_mpirun(3, train_with("train.global_batch=2")));
  expect_message("no run", {muster_program(), "eval", "--run", folder_ / "absent", "--data", store()});
  fs::rename(store(), folder_ / "store.partial");
  expect_message("half-written store", train());
  fs::rename(folder_ / "store.partial", store());
  const std::string whole = read(shard());
  write(shard(), whole.substr(0, whole.size() - 100));
  expect_message("truncated shard", train());
  write(shard(), whole);
  flip_byte(shard(), 40);
  expect_message("flipped bit in a table", train());
  write(shard(), whole);
  const size_t first_jpeg = whole.find("\xff\xd8\xff");
  ASSERT_NE(first_jpeg, std::string::npos);
  flip_byte(shard(), first_jpeg + 300);
  expect_message("flipped bit in an image", train());
}

TEST_F(MessagesTest, RunFolder) {
  ASSERT_EQ(run_program(train()).exit_code, 0);
  expect_message("another config", train_with("train.optimizer.rate=1"));
  expect_message("another model", train_with("model.joint_width=8"));
  write_tiny_store(folder_ / "other", 14);
  expect_message("another store", {muster_program(), "train", "--config", folder_ / "config.textproto", "--data",
                                   folder_ / "other", "--run", folder_ / "run"});
  expect_message("another store beside it", train("run", {"--data", folder_ / "other:2"}));
  expect_message("not finite", train("wild", {"--set", "train.optimizer.rate=1e30", "--set", "train.steps=8"}), 77);
}

// Nobody else trains in it meanwhile; the kernel takes the lock from whoever ends, however that is.
TEST_F(MessagesTest, RunFolderOfTwoJobs) {
  ASSERT_EQ(run_program(train("run", {"--stop-after", "2"})).exit_code, 75);
  write(folder_ / "run/checkpoints/LATEST", "step_0000000099\n");  // a reader would say so
  const pid_t holder = fork();
  if (holder == 0) {
    const int descriptor = open((folder_ / "run/lock").c_str(), O_RDWR | O_CLOEXEC);
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) write(folder_ / "locked", "");
    for (;;) pause();
  }
  while (!fs::exists(folder_ / "locked")) std::this_thread::yield();
  expect_message("two jobs in a run folder", train());
  EXPECT_EQ(read(folder_ / "run/checkpoints/LATEST"), "step_0000000099\n");
  kill(holder, SIGKILL);
  int status = 0;
  ASSERT_EQ(waitpid(holder, &status, 0), holder);
  expect_logged("checkpoint removed", train());
}

TEST_F(MessagesTest, DamagedCheckpoints) {
  ASSERT_EQ(run_program(train("run", {"--set", "train.checkpoint.every=2", "--stop-after", "2"})).exit_code, 75);
  const std::string checkpoints = folder_ / "run/checkpoints/", older = checkpoints + "step_0000000002/";
  fs::copy(older, checkpoints + "step_0000000003");
  expect_logged("checkpoint under another name", train());
  flip_byte(checkpoints + "step_0000000004/model.safetensors", 5000);
  expect_logged("damaged checkpoint", train());
  const auto cut = [&](const std::string& file) { fs::resize_file(file, fs::file_size(file) - 1); };
  cut(checkpoints + "step_0000000004/optimizer.safetensors");
  cut(older + "manifest.textproto");
  expect_message("no checkpoint whole", train());
  fs::remove_all(checkpoints);
  write(folder_ / "run/checkpoints", "a file");
  expect_message("checkpoints are a file", train());
  fs::remove(folder_ / "run/checkpoints");
  fs::create_directories(checkpoints + "LATEST");
  expect_logged("LATEST is a folder", train());
  fs::remove(folder_ / "run/lock");
  fs::create_directory(folder_ / "run/lock");
  expect_message("lock is a folder", train());
}

TEST_F(MessagesTest, RunFolderOnASmallDisk) {
  fs::create_directory(folder_ / "run");
  const SmallDisk disk(folder_ / "run", "8m");
  if (!disk.mounted()) GTEST_SKIP() << disk.reason();
  expect_message("full disk of a checkpoint", train());
  disk.resize("64m");
  expect_logged("full disk no more", train());
  disk.make_read_only();
  expect_message("run folder is read-only", train());
}

TEST_F(MessagesTest, DryRun) {
  const auto dry_run = [&](std::vector<std::string> more) {
    more.emplace_back("--dry-run");
    return train("absent", more);
  };
  expect_message("dry run of no ranks", dry_run({"--world", "0"}));
  expect_message("dry run of a million ranks", dry_run({"--world", "1000000"}));
  expect_message("dry run of 2^63 ranks", dry_run({"--world", "9223372036854775808"}));
  expect_message("dry run of ranks without end", dry_run({"--world", std::string(300, '9')}));
  expect_message("dry run of captions without end", dry_run({"--caption-tokens", "-" + std::string(300, '1')}));
  expect_message("stop after nothing, at length", train("absent", {"--stop-after", std::string(300, '0')}));
  expect_message("dry run of more ranks than samples", dry_run({"--world", "9"}));
  expect_message("dry run of a negative network", dry_run({"--network", "-1"}));
  expect_message("dry run of no network", dry_run({"--network", "nan"}));
  expect_message("dry run of an endless network", dry_run({"--network", "inf"}));
  expect_message("dry run of next to no network", dry_run({"--network", "1e-300"}));
  expect_message("dry run of negative latency", dry_run({"--latency", "-1"}));
  expect_message("dry run of no speed", dry_run({"--flops", "0"}));
  expect_message("dry run of long captions", dry_run({"--caption-tokens", "13"}));
  expect_message("fewer samples than the batch", dry_run({"--set", "train.global_batch=64"}));
  const std::vector<std::string> no_tagger = {"--set", "data.text.prune=0.2", "--set",
                                              "data.text.tagger=" + (folder_ / "absent")};
  expect_message("dry run without the tagger's files", dry_run(no_tagger));
  std::vector<std::string> bench = {muster_program(), "bench", "train", "--config", folder_ / "config.textproto"};
  bench.insert(bench.end(), no_tagger.begin(), no_tagger.end());
  expect_message("bench without the tagger's files", bench);
  expect_message("world without a dry run", train("absent", {"--world", "2"}));
  expect_message("training in no folder",
                 {muster_program(), "train", "--config", folder_ / "config.textproto", "--data", store()});
  EXPECT_FALSE(fs::exists(folder_ / "absent"));
  ASSERT_EQ(run_program(train()).exit_code, 0);
  expect_message("another config", train("run", {"--dry-run", "--set", "train.optimizer.rate=1"}));
}

TEST_F(MessagesTest, Search) {
  ASSERT_EQ(run_program(train()).exit_code, 0);
  const auto search = [&](const std::vector<std::string>& more) {
    std::vector<std::string> argv = {muster_program(), "search", "--run", folder_ / "run", "--data", store()};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  };
  expect_message("search without words", search({}));
  expect_message("search of blanks", search({"a red coat", " \t "}));
  expect_message("search of a control character", search({"\x01"}));
  expect_message("search of no UTF-8", search({"a \xff coat"}));
  expect_message("search of a long text", search({std::string(5000, 'a')}));
  expect_message("search without references", search({"a red coat", "--refine"}));
  expect_message("search of no run",
                 {muster_program(), "search", "--run", folder_ / "absent", "--data", store(), "a red coat"});
  expect_message("search of an unknown split", search({"a red coat", "--split", "tset"}));
  expect_message("search page in the store", search({"a red coat", "--html", store() + "/hits.html"}));
  expect_message("search under mpirun", under_mpirun(2, search({"a red coat"})));
  expect_message("serve on no port", {muster_program(), "serve", "--run", "r", "--data", "d", "--port", "70000"});
  StoreWriter writer(folder_ / "train-only");
  const std::vector<uint8_t> jpeg = encode_jpeg({8, 8, std::vector<uint8_t>(192, 100)}, 90);
  writer.add({"a.jpg", jpeg, 8, 8, {"a coat"}, "1", Split::kTrain});
  writer.finish();
  expect_message("search of a split without images", {muster_program(), "search", "--run", folder_ / "run", "--data",
                                                      folder_ / "train-only", "a red coat"});
}

// Of a run that has regions: tests/commands/explain_test.cpp.
TEST_F(MessagesTest, Explain) {
  ASSERT_EQ(run_program(train()).exit_code, 0);
  const auto explain = [&](const std::vector<std::string>& more) {
    std::vector<std::string> argv = {muster_program(), "explain", "--run", folder_ / "run", "--data", store()};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  };
  expect_message("explain of no image", explain({}));
  expect_message("explain of an absent image", explain({"--image", "absent\n.jpg"}));
  expect_message("explain of a number without end", explain({"--image", std::string(30, '9')}));
  expect_message("explain by a run without regions", explain({"--image", "0"}));
  expect_message("explain into the store", explain({"--image", "0", "--out", store() + "/page.html"}));
  expect_message("explain under mpirun", under_mpirun(2, explain({"--image", "0"})));
  expect_message("explain of no run",
                 {muster_program(), "explain", "--run", folder_ / "absent", "--data", store(), "--image", "0"});
}

TEST_F(MessagesTest, Memory) {
  std::vector<std::string> argv = {"sh", "-c", "ulimit -v 8000000; exec \"$0\" \"$@\""};
  for (const std::string& one :
       train_with("model.text={ context: 12 vocabulary: 524288 width: 4096 layers: 1 heads: 2 }"))
    argv.push_back(one);
  expect_message("out of memory", argv);
  EXPECT_EQ(run_program(argv).output.find("frame #"), std::string::npos);

  const ProgramResult larger =
      run_program(train_with("model.text={ context: 12 vocabulary: 16777216 width: 16384 layers: 1 heads: 2 }"));
  EXPECT_EQ(larger.exit_code, 2);
  EXPECT_NE(larger.output.find("give smaller widths or fewer layers"), std::string::npos) << larger.output;
}

TEST_F(MessagesTest, FullDisk) {
  const auto in_shell = [](const std::string& script, const std::vector<std::string>& argv) {
    std::vector<std::string> all = {"sh", "-c", script};
    all.insert(all.end(), argv.begin(), argv.end());
    return all;
  };
  expect_message("full disk behind the output",
                 in_shell("exec \"$0\" \"$@\" > /dev/full", {muster_program(), "config"}));
  const std::string limit = "ulimit -f 2; exec \"$0\" \"$@\"";  // 1,024 bytes
  expect_message("full disk of an import", in_shell(limit, import_line(R"({"image": "good.jpg", "captions": ["a"]})")));
  const ProgramResult trained = run_program(in_shell(limit, train()));
  EXPECT_EQ(trained.exit_code, 2) << trained.output;
}

// Outputs are refused before anything is read, so that the inputs need not even be good.
TEST_F(MessagesTest, Outputs) {
  write(folder_ / "features.safetensors", "no tensors");
  fs::create_symlink(folder_ / "features.safetensors", folder_ / "link");
  fs::create_hard_link(folder_ / "features.safetensors", folder_ / "other_name");
  fs::create_directories(folder_ / "run/checkpoints");
  write(folder_ / "run/config.textproto", kConfig);
  const auto loss_to = [&](const std::string& out) -> std::vector<std::string> {
    return {muster_program(), "loss",
            "--config",       folder_ / "config.textproto",
            "--features",     folder_ / "features.safetensors",
            "--out",          out};
  };
  const auto embed_to = [&](const std::string& out) -> std::vector<std::string> {
    return {muster_program(), "embed", "--run", folder_ / "run", "--data", store(), "--out", out};
  };
  expect_message("out is the input", loss_to(folder_ / "features.safetensors"));
  expect_message("out is the input by another name", loss_to(folder_ / "./other_name"));
  expect_message("out is a link", loss_to(folder_ / "link"));
  expect_message("out is the config", loss_to(folder_ / "config.textproto"));
  expect_message("out is empty", loss_to(""));
  expect_message("out is a folder", loss_to(folder_.path()));
  expect_message("out is in no folder", embed_to(folder_ / "absent/e.safetensors"));
  expect_message("out is in the store", embed_to(store() + "/shard-00000.h5"));
  expect_message("out is in a checkpoint", embed_to(folder_ / "run/checkpoints/e.safetensors"));
  expect_message("report is the run's config", {muster_program(), "eval", "--run", folder_ / "run", "--data", store(),
                                                "--report", folder_ / "run/config.textproto"});
  expect_message("ranks of another kind", {muster_program(), "eval", "--run", folder_ / "run", "--data", store(),
                                           "--ranks", folder_ / "ranks.txt"});
  EXPECT_EQ(read(folder_ / "features.safetensors"), "no tensors");
  EXPECT_EQ(read(folder_ / "run/config.textproto"), kConfig);
}

TEST_F(MessagesTest, Export) {
  const auto export_of = [&](const std::string& run, const std::string& format,
                             const std::string& to) -> std::vector<std::string> {
    return {muster_program(), "export", "--run", folder_ / run, "--format", format, "--out", to};
  };
  ASSERT_EQ(run_program(train("run", {"--set", "model.image.width_pixels=32", "--set", "train.steps=1"})).exit_code, 0);
  expect_message("export of no run", export_of("absent", "hf", folder_ / "imported"));
  expect_message("export of no square", export_of("run", "hf", folder_ / "imported"));
  expect_message("export to no name", export_of("run", "open_clip", ""));
  expect_message("export into no folder", export_of("run", "open_clip", folder_ / "absent/imported"));
  expect_message("export over a store", export_of("run", "open_clip", store()));
  fs::create_directory(folder_ / "exported.partial");
  write(folder_ / "exported.partial/notes.txt", "mine");
  expect_message("export beside another's folder", export_of("run", "open_clip", folder_ / "exported"));
  EXPECT_EQ(read(folder_ / "exported.partial/notes.txt"), "mine");
}

TEST_F(MessagesTest, Arguments) {
  expect_message("no such field", {muster_program(), "config", "train.optimiser.rate"});
  expect_message("field of a number", {muster_program(), "config", "train.seed.value"});
  expect_message("table of no run", {muster_program(), "table", folder_ / "absent"});
  expect_message("table format", {muster_program(), "table", folder_ / "absent", "--format", "word"});
  expect_message("trace window", train("run", {"--trace", "5:"}));
  expect_message("trace window beyond the run", train("run", {"--trace", "5:9"}));
  expect_message("eval of nothing", {muster_program(), "eval"});
  expect_message("best on test of val",
                 {muster_program(), "eval", "--run", "r", "--data", "d", "--best-on-test", "--split", "val"});
}

// tests/golden/help.txt: what --help prints for a command.
TEST(HelpTest, Golden) {
  std::ifstream file(MUSTER_SOURCE_DIR "/tests/golden/help.txt");
  std::map<std::string, std::string> golden;
  std::string name;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("== ", 0) == 0) {
      name = line.substr(3);
    } else {
      golden[name] += line + "\n";
    }
  }
  ASSERT_EQ(golden.size(), 8U);
  for (const auto& [command, text] : golden) {
    const ProgramResult result = run_program({muster_program(), command, "--help"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.output, text) << "== " << command << "\n" << result.output;
  }
}

TEST(VersionTest, NamesTheLibrariesAndFormats) {
  const ProgramResult result = run_program({muster_program(), "--version"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* line :
       {"muster 0\\.", "LibTorch +2\\.", "MPI +[A-Z]", "HDF5 +1\\.", "Protobuf +[0-9]", "glog +[0-9]",
        "libjpeg-turbo +[0-9]", "xxHash +[0-9]", "store format +[0-9]+", "checkpoint format +[0-9]+"}) {
    EXPECT_THAT("\n" + result.output, testing::ContainsRegex(std::string("\n") + line)) << result.output;
  }
}

// Its config lacks the fields that came later; they have their defaults on both sides.
TEST_F(MessagesTest, ARunOfAnEarlierCommitContinues) {
  ASSERT_EQ(run_program(train("run", {"--stop-after", "2"})).exit_code, 75);
  const std::string path = folder_ / "run/config.textproto", line = "  precision: FP32\n";
  std::string config = read(path);
  ASSERT_NE(config.find(line), std::string::npos) << config;
  write(path, config.erase(config.find(line), line.size()));
  const ProgramResult result = run_program(train());
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("continuing"), std::string::npos) << result.output;
}

}  // namespace
}  // namespace muster
