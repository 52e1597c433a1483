// A set of classes from its files to its table: doctor, import over ranks, eval --positives class, table.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "dataloader/store.h"
#include "tests/commands/trained_run.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ClassProtocolCommand : public TrainedRunTest {
 protected:
  // The pictures and captions of the run's own store, as Reed's lists.
  void SetUp() override {
    const Store from(store());
    fs::copy(run(), folder_ / "run", fs::copy_options::recursive);
    fs::remove(folder_ / "run/evaluations.jsonl");
    for (const auto& [split, list] : std::vector<std::pair<Split, std::string>>{
             {Split::kTrain, "trainclasses.txt"}, {Split::kVal, "valclasses.txt"}, {Split::kTest, "testclasses.txt"}}) {
      std::string names, last;
      for (const int64_t image : from.images_of(split)) {
        const std::string name = from.identity_name(from.identity(image));
        const fs::path texts = folder_ / ("set/text_c10/" + name), images = folder_ / ("set/images/" + name);
        fs::create_directories(texts);
        fs::create_directories(images);
        const std::string stem = fs::path(from.source_path(image)).stem().string();
        std::ofstream captions(texts / (stem + ".txt"));
        for (int64_t c = 0; c < from.caption_count(image); ++c)
          captions << from.caption(from.first_caption(image) + c) << "\n";
        const std::vector<uint8_t> bytes = from.image_bytes(image);
        std::ofstream(images / (stem + ".jpg"), std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        if (name != last) names += name + "\n";
        last = name;
      }
      std::ofstream(folder_ / ("set/" + list)) << names;
    }
  }
  // Of a line without quotes that hold commas.
  static std::string cell(const std::string& line, int number) {
    std::istringstream cells(line);
    std::string text;
    for (int i = 0; i <= number; ++i) std::getline(cells, text, ',');
    return text;
  }
  static size_t tables_in(const std::string& output) {
    size_t tables = 0;
    const std::string head = "AP@50   queries";
    for (size_t at = output.find(head); at != std::string::npos; at = output.find(head, at + 1)) ++tables;
    return tables;
  }
  std::vector<std::string> import_to(const std::string& out) const {
    return {muster_program(), "import", "cub", folder_ / "set", "--out", folder_ / out};
  }
  std::vector<std::string> eval(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> argv = {muster_program(), "eval",          "--run",       folder_ / "run",
                                     "--data",         folder_ / "one", "--positives", "class"};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  }
};

TEST_F(ClassProtocolCommand, FromFilesToTheTable) {
  const ProgramResult doctor = run_program({muster_program(), "doctor", "data", folder_ / "set"});
  EXPECT_EQ(doctor.exit_code, 1);  // counts are not those published
  EXPECT_THAT(doctor.output, HasSubstr("muster import cub " + (folder_ / "set")));
  output_of(import_to("one"));
  output_of(under_mpirun(2, import_to("two")));
  EXPECT_EQ(read_text(folder_ / "one/manifest.textproto"), read_text(folder_ / "two/manifest.textproto"));

  const std::string output = output_of(eval());
  EXPECT_THAT(output, HasSubstr("right is the same class, whose text is the mean of its captions"));
  EXPECT_THAT(output, HasSubstr("mINP   AP@50   queries   gallery"));
  EXPECT_THAT(output, HasSubstr("AP@50 is over all 4 images, there being fewer than 50"));
  EXPECT_EQ(output_of(under_mpirun(3, eval())), output);
  const auto record = nlohmann::json::parse(lines_of(read_text(folder_ / "run/evaluations.jsonl")).at(0));
  EXPECT_EQ(record["positives"], "class");
  EXPECT_EQ(record["text_to_image"]["ap50"], 50);  // two of the four images are of a class, whatever their order
  EXPECT_EQ(record["text_to_image"]["queries"], 2);
  EXPECT_EQ(record["image_to_text"]["gallery"], 2);
  const std::string table = output_of({muster_program(), "table", folder_ / "run", "--positives", "class"});
  EXPECT_THAT(table, HasSubstr("| T2I mINP | T2I AP@50 | I2T R@1 |"));
  const std::vector<std::string> csv =
      lines_of(output_of({muster_program(), "table", folder_ / "run", "--positives", "class", "--format", "csv"}));
  EXPECT_THAT(csv.at(0), HasSubstr("run,n,t2i_r1,t2i_r1_sd,"));
  EXPECT_EQ(cell(csv.at(0), 12) + " " + cell(csv.at(1), 12), "t2i_ap50 50.0000");
  EXPECT_THAT(output_of({muster_program(), "table", folder_ / "run", "--positives", "class", "--format", "latex"}),
              HasSubstr("\\begin{tabular}{lr*{11}{r}}"));
  EXPECT_EQ(run_program({muster_program(), "table", folder_ / "run"}).exit_code, 2);
}

TEST_F(ClassProtocolCommand, RefinesClassesToo) {
  output_of(import_to("one"));
  write_safetensors(folder_ / "run/checkpoints/step_0000000004/references.safetensors",
                    {{"rows", at::eye(16).narrow(0, 0, 8).contiguous()},
                     {"identity", at::arange(8)},
                     {"mean.image", at::full({16}, 0.1)},
                     {"mean.text", at::full({16}, -0.1)}});
  const std::string output = output_of(eval({"--refine"}));
  EXPECT_THAT(output, testing::ContainsRegex("8 references, phi .*chosen on val of "));
  EXPECT_EQ(tables_in(output), 3U);
  EXPECT_EQ(output_of(under_mpirun(2, eval({"--refine"}))), output);
}

// The preset for CUB, four references a class, on a model small enough, over two ranks: a few steps, then classes plain
// and refined.
TEST_F(ClassProtocolCommand, ThePresetForCub) {
  output_of(import_to("one"));
  std::vector<std::string> train = {
      muster_program(), "train",         "--config", MUSTER_SOURCE_DIR "/configs/mmref_cub.textproto",
      "--data",         folder_ / "one", "--run",    folder_ / "cub"};
  for (const std::string set :
       {"model.preset=MINI", "model.image.width_pixels=16", "model.image.height_pixels=16", "model.image.width=24",
        "model.image.layers=1", "model.image.heads=2", "model.text.context=12", "model.text.width=24",
        "model.text.layers=1", "model.text.heads=2", "model.joint_width=16", "train.global_batch=16", "train.chunk=4",
        "train.epochs=2", "train.schedule.warmup_epochs=1", "data.workers=1", "train.optimizer.rate=5e-4"}) {
    train.insert(train.end(), {"--set", set});
  }
  EXPECT_THAT(output_of(under_mpirun(2, train)), HasSubstr("references: 8 identities x 4 of width 16"));
  const std::vector<std::string> eval = {muster_program(), "eval",        "--run", folder_ / "cub", "--data",
                                         folder_ / "one",  "--positives", "class", "--refine"};
  const std::string output = output_of(under_mpirun(2, eval));
  EXPECT_EQ(tables_in(output), 3U);
  EXPECT_THAT(output, HasSubstr("\n32 references, phi "));
  EXPECT_EQ(output_of(eval), output);
}

TEST_F(ClassProtocolCommand, WithoutIdentitiesOneLineSaysWhatToDo) {
  const Store whole(store());
  std::vector<int64_t> one_of_each;
  for (int64_t image = 0; image < whole.images(); image += 2) one_of_each.push_back(image);
  copy_store(store(), folder_ / "one", one_of_each);
  const ProgramResult result = run_program(eval());
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.output, "muster: " + (folder_ / "one") +
                               ": each of the 2 images of split test is the only one of its identity, so there are no "
                               "classes; import the set with an identity column, or leave out --positives class\n");
  EXPECT_FALSE(fs::exists(folder_ / "run/evaluations.jsonl"));
}

// Of the two test classes one loses its captions; its pictures stay in the gallery.
TEST_F(ClassProtocolCommand, AClassWithoutCaptionsIsCounted) {
  output_of(import_to("one"));
  const Store whole(folder_ / "one");
  StoreWriter writer(folder_ / "some");
  for (const int64_t image : whole.images_of(Split::kTest)) {
    const bool first = whole.identity(image) == whole.identity(whole.images_of(Split::kTest)[0]);
    writer.add({whole.source_path(image), whole.image_bytes(image), whole.width(image), whole.height(image),
                first ? std::vector<std::string>{"a thing"} : std::vector<std::string>{},
                whole.identity_name(whole.identity(image)), Split::kTest});
  }
  writer.finish();
  const ProgramResult result = run_program(
      {muster_program(), "eval", "--run", folder_ / "run", "--data", folder_ / "some", "--positives", "class"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("left out, having no positive in the gallery: 0 classes, 2 images\n"));
  EXPECT_THAT(result.output, testing::ContainsRegex("text to image .* 50.00 +1 +4\n"));
}

TEST_F(ClassProtocolCommand, ShowsNoCaptions) {
  const ProgramResult result = run_program(eval({"--ranks", folder_ / "hits.csv"}));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.output,
            "muster: --positives class ranks classes; --report and --ranks show captions: leave them out\n");
}

}  // namespace
}  // namespace muster
