// muster explain: its table and page against the model's own cosines, and what it refuses; and what other commands say
// of a run whose evaluation ranks by regions and words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/store.h"
#include "tests/commands/trained_run.h"
#include "tests/support/child_process.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr char kVocabulary[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n,"
    "\na\nan\nthe\nthere\nis\nto\nof\nleft\nright\nand\nsmall\nlarge\nred\nblue\n"
    "ball\nbox\ntri\n##angle\nstar\nring\ncross\n";

// Two runs of a few steps on scenes with regions: "words" has trained regions and words alone, "both" the whole image's
// and caption's vectors too.
class ExplainCommand : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    made_ = std::make_unique<TemporaryFolder>();
    std::ofstream(*made_ / "vocab.txt") << kVocabulary;
    run_program_well({muster_program(), "synth", "--regions", "64", "--identities", "40", "--views", "1", "--width",
                      "96", "--height", "64", "--out", store()});
    for (const std::string name : {"words", "both"}) {
      std::ofstream(*made_ / (name + ".textproto")) << config(name == "both");
      run_program_well({muster_program(), "train", "--config", *made_ / (name + ".textproto"), "--data", store(),
                        "--run", run(name)});
    }
  }
  static void TearDownTestSuite() { made_.reset(); }

  static std::string config(bool both) {
    return fmt::format(R"(
model {{
  regions {{ width: 64 layers: 1 hidden: 32 joint_layers: 1 joint_hidden: 16 text_positions: 24 }}
  text {{ context: 24 vocabulary: 28 width: 16 layers: 1 heads: 2 }}
  joint_width: 16
}}
data {{ tokenizer {{ kind: WORDPIECE vocabulary: "{}" }} }}
objective {{ term {{ pair: "alignment" info_nce {{}} }} {} }}
train {{ global_batch: 8 steps: 3 threads: 1 evaluation {{ pair: "alignment" }} }}
)",
                       *made_ / "vocab.txt", both ? "term { info_nce {} }" : "term { weight: 0 info_nce {} }");
  }

  static void run_program_well(const std::vector<std::string>& argv) {
    const ProgramResult result = run_program(argv);
    ASSERT_EQ(result.exit_code, 0) << result.output;
  }

  static std::string store() { return *made_ / "store"; }
  static std::string run(const std::string& name) { return *made_ / name; }

  static std::vector<std::string> explain(const std::string& image, const std::vector<std::string>& more = {}) {
    std::vector<std::string> argv = {muster_program(), "explain", "--run",   run("words"),
                                     "--data",         store(),   "--image", image};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  }

  // muster COMMAND --run RUN --data STORE MORE...
  static ProgramResult on_run(const std::string& command, const std::string& name,
                              const std::vector<std::string>& more) {
    std::vector<std::string> argv = {muster_program(), command, "--run", run(name), "--data", store()};
    argv.insert(argv.end(), more.begin(), more.end());
    return run_program(argv);
  }

  static std::string output_of(const std::vector<std::string>& argv) {
    const ProgramResult result = run_program(argv);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result.output;
  }

  void expect_refused(const ProgramResult& result, const std::string& text) const {
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(text));
    EXPECT_EQ(lines_of(result.output).size(), 1U) << result.output;
  }

  TemporaryFolder folder_;
  static inline std::unique_ptr<TemporaryFolder> made_;
};

TEST_F(ExplainCommand, PrintsEachWordsBestRegionsAndWritesThePage) {
  const Store store(this->store());
  const std::string caption = "A red triangle, a box.";
  const std::string output = output_of(explain("7", {"--caption", caption, "--out", folder_ / "page.html"}));
  const std::vector<std::string> lines = lines_of(output);
  ASSERT_GE(lines.size(), 14U) << output;
  EXPECT_EQ(lines[0], fmt::format("image 7 of {}, {}: {} regions; {} step 3", this->store(), store.source_path(7),
                                  store.region_count(7), run("words")));
  EXPECT_EQ(lines[1], "the score is the sum over words of the best region's cosine");
  EXPECT_EQ(lines[3], caption);
  std::vector<uint16_t> features(static_cast<size_t>(store.region_count(7) * store.region_width()));
  std::vector<float> boxes(static_cast<size_t>(store.region_count(7) * 4));
  store.read_regions(7, features.data(), boxes.data());
  const std::vector<std::string> words = {"a", "red", "tri", "##angle", ",", "a", "box", "."};
  double sum = 0;
  for (size_t word = 0; word < words.size(); ++word) {
    std::istringstream columns(lines[6 + word]);
    std::string name, corner, other;
    double cosine = 0;
    size_t region = 0;
    columns >> name >> cosine >> region >> corner >> other;
    EXPECT_EQ(name, words[word]);
    sum += cosine;
    ASSERT_LT(region * 4, boxes.size());
    const float* box = boxes.data() + region * 4;
    EXPECT_EQ(corner, fmt::format("{:.0f},{:.0f}", box[0], box[1]));
    EXPECT_EQ(other, fmt::format("{:.0f},{:.0f}", box[2], box[3]));
  }
  EXPECT_NEAR(std::stod(lines[4].substr(6)), sum, 1e-3) << lines[4];
  const std::string page = read_text(folder_ / "page.html");
  EXPECT_THAT(page, HasSubstr(fmt::format("viewBox=\"0 0 {} {}\"", store.width(7), store.height(7))));
  EXPECT_THAT(page, HasSubstr("href=\"data:image/jpeg;base64,"));
  EXPECT_THAT(page, HasSubstr("<span class=\"chip rest\"><bdi>tri</bdi></span><span class=\"chip\"><bdi>angle</bdi>"));
  EXPECT_THAT(output, HasSubstr((folder_ / "page.html") + ": the same with the picture"));
}

TEST_F(ExplainCommand, AnImageHasAPathANumberAndAName) {
  const Store store(this->store());
  const std::string path = store.source_path(3);
  const std::string by_number = output_of(explain("3")), name = fs::path(path).filename();
  EXPECT_EQ(output_of(explain(path)), by_number);
  EXPECT_EQ(output_of(explain(name)), by_number);
  for (int64_t i = 0; i < store.caption_count(3); ++i) {
    EXPECT_THAT(by_number, HasSubstr("\n" + store.caption(store.first_caption(3) + i) + "\nscore "));
  }
  EXPECT_TRUE(fs::exists(run("words") + "/explain_3.html"));
}

// Regions may come without pictures, and their images be named by numbers.
TEST_F(ExplainCommand, AStoreOfRegionsAloneHasAFrameForAPicture) {
  const Store from(store());
  StoreWriter::Options options;
  options.region_width = from.region_width();
  StoreWriter writer(folder_ / "bare", options);
  for (const char* path : {"5", "0", "x/same", "y/same"}) {
    StoreRecord record;
    record.source_path = path;
    record.width = 96;
    record.height = 64;
    record.regions.features.resize(static_cast<size_t>(from.region_count(0) * from.region_width()));
    record.regions.boxes.resize(static_cast<size_t>(from.region_count(0) * 4));
    from.read_regions(0, record.regions.features.data(), record.regions.boxes.data());
    record.captions = {"a red ball."};
    record.identity = path;
    writer.add(record);
  }
  writer.finish();
  const auto of_bare = [&](const std::string& image) {
    return run_program({muster_program(), "explain", "--run", run("words"), "--data", folder_ / "bare", "--image",
                        image, "--out", folder_ / "bare.html"});
  };
  const ProgramResult shown = of_bare("0");  // its path, not its number
  EXPECT_EQ(shown.exit_code, 0) << shown.output;
  EXPECT_THAT(shown.output, HasSubstr("image 1 of "));
  EXPECT_THAT(of_bare("3").output, HasSubstr("image 3 of "));
  const std::string page = read_text(folder_ / "bare.html");
  EXPECT_THAT(page, HasSubstr("class=\"void\""));
  EXPECT_THAT(page, Not(HasSubstr("<image")));
  expect_refused(of_bare("same"), "--image same: 2 images of " + (folder_ / "bare") +
                                      " are called that, the first 2 and 3; give the path or the number of one");
}

TEST_F(ExplainCommand, ACheckpointAloneKeepsNoPage) {
  const std::string checkpoint = run("words") + "/checkpoints/step_0000000003";
  const auto argv = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = {muster_program(), "explain", "--run",   checkpoint,
                                    "--data",         store(),   "--image", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  EXPECT_THAT(output_of(argv({})), Not(HasSubstr("the same with the picture")));
  for (const auto& entry : fs::directory_iterator(checkpoint)) EXPECT_NE(entry.path().extension(), ".html");
  output_of(argv({"--out", folder_ / "page.html"}));
  EXPECT_TRUE(fs::exists(folder_ / "page.html"));
}

TEST_F(ExplainCommand, TheReportExplainsAndLeavesListsOfUntrainedVectorsOut) {
  const ProgramResult words = on_run("eval", "words", {"--report", folder_ / "words.html"});
  EXPECT_EQ(words.exit_code, 0) << words.output;
  const std::string alone = read_text(folder_ / "words.html");
  EXPECT_THAT(alone, HasSubstr("<h2>Explain</h2>"));
  EXPECT_THAT(alone, HasSubstr("No lists of hits"));
  EXPECT_THAT(alone, Not(HasSubstr("<h2>Image to text</h2>")));
  EXPECT_THAT(alone, HasSubstr("<svg class=\"scene\""));
  const ProgramResult both =
      on_run("eval", "both", {"--report", folder_ / "both.html", "--ranks", folder_ / "hits.jsonl"});
  EXPECT_EQ(both.exit_code, 0) << both.output;
  EXPECT_THAT(both.output, HasSubstr("hits.jsonl: ranked by the cosine of one vector for each image and caption"));
  const std::string page = read_text(folder_ / "both.html");
  EXPECT_THAT(page, HasSubstr("<h2>Explain</h2>"));
  EXPECT_THAT(page, HasSubstr("the best images for each, by the cosine of one vector for each image and caption "
                              "(&quot;global&quot;), not by the alignment"));
  EXPECT_THAT(page, HasSubstr("<h2>Image to text</h2>"));
}

TEST_F(ExplainCommand, OtherCommandsSayByWhichScoresTheyRank) {
  const std::string note = "ranked by the cosine of one vector for each image and caption (\"global\"), not by";
  const ProgramResult search = on_run("search", "both", {"a red ball", "--html", folder_ / "hits.html"});
  EXPECT_EQ(search.exit_code, 0) << search.output;
  EXPECT_THAT(search.output, HasSubstr(note));
  EXPECT_THAT(read_text(folder_ / "hits.html"), HasSubstr("<dt>ranked</dt><dd><bdi>by the cosine of one vector"));
  const ProgramResult embed = on_run("embed", "both", {"--out", folder_ / "e.safetensors"});
  EXPECT_EQ(embed.exit_code, 0) << embed.output;
  EXPECT_THAT(embed.output, HasSubstr("they rank by the cosine of one vector for each image and caption"));
  const std::string why = " one vector for each image and caption, which " + run("words") +
                          " has not trained: no term of its objective is of the pair \"global\"";
  expect_refused(on_run("search", "words", {"a red ball"}), "muster search ranks by" + why);
  expect_refused(on_run("serve", "words", {"--port", "0"}), "muster serve ranks by" + why);
  expect_refused(on_run("embed", "words", {"--out", folder_ / "w.safetensors"}), "muster embed writes" + why);
  expect_refused(on_run("eval", "words", {"--ranks", folder_ / "w.jsonl", "--report", folder_ / "w.html"}),
                 "--ranks ranks by" + why);
  for (const char* file : {"w.safetensors", "w.jsonl", "w.html"}) EXPECT_FALSE(fs::exists(folder_ / file)) << file;
}

TEST_F(ExplainCommand, RefusesWhatItCannotExplain) {
  expect_refused(run_program(explain("99")),
                 "--image 99: " + store() + " has no such image; give its path there, such as ");
  expect_refused(run_program(explain("absent.jpg")), "its file's name or a number of 0 to 39");
  expect_refused(run_program(explain("1", {"--caption", " \t "})), "the caption ' \\t ' has no word to explain");
  expect_refused(run_program(explain("1", {"--caption", "a \xff coat"})), "the caption 'a \\xFF coat' is not UTF-8");
  expect_refused(run_program(explain("1", {"--caption", std::string(5000, 'a')})), "the caption has 5000 bytes");
  expect_refused(run_program(explain("1", {"--checkpoint", "best", "--out", store() + "/x.html"})), "--out ");
  expect_refused(run_program(explain("1", {"--weights", "mean"})), "--weights is auto, raw or ema, not 'mean'");
  EXPECT_FALSE(fs::exists(run("words") + "/explain_1.html"));
  const ProgramResult ranks = run_program(under_mpirun(2, explain("1")));
  EXPECT_EQ(ranks.exit_code, 2);
  EXPECT_THAT(ranks.output, HasSubstr("muster explain is one process; run it without mpirun"));
}

// A run of CLIP's towers, and a store that has no regions.
class ExplainPlainRun : public TrainedRunTest {};

TEST_F(ExplainPlainRun, IsRefused) {
  const ProgramResult result = run_program(on_run("explain", {"--image", "0"}));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(lines_of(result.output).size(), 1U) << result.output;
  EXPECT_THAT(result.output,
              HasSubstr(run() + " has one vector for an image, and none for its regions, to explain with: "
                                "give a run of a model with model.regions, trained on a store with "
                                "regions"));
}

}  // namespace
}  // namespace muster
