// muster eval and embed: what they write against the embeddings themselves, in float64.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "tests/commands/trained_run.h"
#include "tests/support/reference_python.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<json> json_lines(const std::string& path) {
  std::vector<json> lines;
  for (const std::string& line : lines_of(read_text(path))) lines.push_back(json::parse(line));
  return lines;
}

// The numbers of the printed table's row.
std::vector<double> table_row(const std::string& output, const std::string& direction) {
  for (const std::string& line : lines_of(output)) {
    if (line.rfind(direction, 0) != 0) continue;
    std::istringstream numbers(line.substr(direction.size()));
    return {std::istream_iterator<double>(numbers), {}};
  }
  ADD_FAILURE() << "no row " << direction << " in " << output;
  return {};
}

class EvalCommand : public TrainedRunTest {
 protected:
  void embed(const std::string& split = "test") {
    output_of(on_run("embed", {"--split", split, "--out", folder_ / "e.safetensors"}));
    tensors_ = read_safetensors(folder_ / "e.safetensors");
    for (const json& row : json_lines(folder_ / "e.rows.jsonl")) rows_[row.at("side")].push_back(row);
  }

  at::Tensor tensor(const std::string& name) const { return find_tensor(tensors_, name, "e.safetensors"); }

  // [queries, gallery] cosines in float64.
  at::Tensor cosines(const std::string& queries, const std::string& gallery) const {
    const auto unit = [&](const std::string& name) {
      const at::Tensor rows = tensor(name).to(at::kDouble);
      return rows.div(rows.norm(2, 1, true));
    };
    return unit(queries).matmul(unit(gallery).t());
  }

  // Gallery rows of a query, best first. Scores within a rounding of float32 are ties, and the lower row wins.
  static std::vector<int64_t> ranking(const at::Tensor& cosines, int64_t query) {
    std::vector<int64_t> order(static_cast<size_t>(cosines.size(1)));
    std::iota(order.begin(), order.end(), int64_t{0});
    const at::Tensor row = cosines[query].to(at::kFloat);
    const auto* scores = row.const_data_ptr<float>();
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return scores[a] > scores[b] + 1e-6F; });
    return order;
  }

  NamedTensors tensors_;
  std::map<std::string, std::vector<json>> rows_;
};

// The file of relevances, folds, medians and NDCG: printed, recorded, refused.
TEST_F(EvalCommand, FoldsAndRelevances) {
  const std::string file = folder_ / "rougeL.f32";
  const std::string made =
      output_of({muster_program(), "relevance", "--data", store(), "--split", "test", "--out", file});
  EXPECT_THAT(made, HasSubstr("ROUGE-L of 8 captions with the captions of 4 images"));
  ASSERT_EQ(fs::file_size(file), 8U * 4 * sizeof(float));
  const std::string out = output_of(on_run("eval", {"--positives", "image", "--folds", "2", "--relevance",
                                                    "rougeL=" + file, "--relevance", "spice=" + file}));
  EXPECT_THAT(out, HasSubstr("means of 2 folds of 2 images and their captions"));
  EXPECT_THAT(out, HasSubstr("medR"));
  EXPECT_THAT(out, HasSubstr("rsum "));
  EXPECT_THAT(out, HasSubstr("NDCG@25 by rougeL: text to image "));
  EXPECT_THAT(out, HasSubstr("NDCG@25 by spice: text to image "));
  const json recorded = json_lines(run() + "/evaluations.jsonl").back();
  EXPECT_EQ(recorded.at("folds"), 2);
  EXPECT_EQ(recorded.at("text_to_image").at("gallery"), 2);
  EXPECT_GE(recorded.at("text_to_image").at("median_rank").get<double>(), 1);
  EXPECT_GT(recorded.at("ndcg").at("rougeL").at("image_to_text").get<double>(), 0);
  EXPECT_EQ(recorded.at("ndcg").at("rougeL"), recorded.at("ndcg").at("spice"));

  const std::string whole = output_of(on_run("eval", {"--positives", "image", "--relevance", "rougeL=" + file}));
  const std::string label = "NDCG@25 by rougeL: ";
  const size_t begin = whole.find(label) + label.size();
  const std::string figures = whole.substr(begin, whole.find('\n', begin) - begin);
  EXPECT_THAT(read_text(run() + "/report.html"), AllOf(HasSubstr("NDCG@25 by rougeL"), HasSubstr(figures)));

  const auto refusal = [&](const std::vector<std::string>& more) {
    const ProgramResult result = run_program(on_run("eval", more));
    EXPECT_EQ(result.exit_code, 2) << result.output;
    return result.output;
  };
  EXPECT_THAT(refusal({"--folds", "3"}), HasSubstr("--folds 3 does not divide the 4 images of split test"));
  EXPECT_THAT(refusal({"--relevance", file}), HasSubstr("give NAME=FILE, such as rougeL=relevances.f32"));
  EXPECT_THAT(refusal({"--relevance", "a=" + file, "--relevance", "a=" + file}), HasSubstr("a stands there twice"));
  EXPECT_THAT(refusal({"--split", "train", "--relevance", "a=" + file}),
              HasSubstr("has 128 bytes, and relevances of "));
  EXPECT_THAT(refusal({"--relevance", "a=" + folder_.path() + "/absent"}), HasSubstr("No such file"));
}

TEST_F(EvalCommand, EmbedSaysWhatEachRowIs) {
  embed();
  ASSERT_EQ(rows_["image"].size(), static_cast<size_t>(tensor("image").size(0)));
  ASSERT_EQ(rows_["text"].size(), static_cast<size_t>(tensor("text").size(0)));
  ASSERT_EQ(rows_["text"].size(), 8U);  // two identities, two images, two captions
  for (const std::string side : {"image", "text"}) {
    for (int64_t i = 0; i < tensor(side).size(0); ++i) {
      const json& row = rows_[side][static_cast<size_t>(i)];
      EXPECT_EQ(row.at("row"), i);
      EXPECT_EQ(row.at("identity_number"), tensor(side + "_identity")[i].item<int64_t>());
    }
  }
  // As tests/support/tiny_store.h writes them: 12 identities, 8 and 9 in test.
  EXPECT_EQ(rows_["image"][1].at("path"), "8_1.jpg");
  EXPECT_EQ(rows_["image"][1].at("identity"), "thing 8");
  EXPECT_EQ(rows_["text"][6].at("path"), "9_1.jpg");
  EXPECT_EQ(rows_["text"][6].at("caption"), "a picture of thing number 9 seen from side 1");
  EXPECT_EQ(rows_["text"][7].at("caption"), "thing 9");
}

TEST_F(EvalCommand, RanksAreTheBestHits) {
  embed("train");
  output_of(on_run(
      "eval", {"--split", "train", "--report", folder_ / "r.html", "--ranks", folder_ / "ranks.jsonl", "--top", "5"}));
  std::map<std::string, int64_t> queries;
  for (const json& line : json_lines(folder_ / "ranks.jsonl")) {
    const std::string direction = line.at("direction");
    const bool by_text = direction == "text_to_image";
    const std::string query_side = by_text ? "text" : "image", hit_side = by_text ? "image" : "text";
    const int64_t query = line.at("query");
    EXPECT_EQ(query, queries[direction]++);
    const json& about = rows_[query_side][static_cast<size_t>(query)];
    EXPECT_EQ(line.at("identity"), about.at("identity"));
    EXPECT_EQ(by_text ? line.at("caption") : line.at("path"), by_text ? about.at("caption") : about.at("path"));
    const at::Tensor scores = cosines(query_side, hit_side);
    const std::vector<int64_t> expected = ranking(scores, query);
    ASSERT_EQ(line.at("hits").size(), 5U);
    for (size_t k = 0; k < 5; ++k) {
      const json& hit = line.at("hits")[k];
      EXPECT_EQ(hit.at("row"), expected[k]) << direction << " " << query << " hit " << k;
      const json& found = rows_[hit_side][hit.at("row").get<size_t>()];
      EXPECT_NEAR(hit.at("score").get<double>(), scores[query][hit.at("row").get<int64_t>()].item<double>(), 1e-6);
      EXPECT_EQ(hit.at("right").get<bool>(), found.at("identity") == about.at("identity"));
      EXPECT_EQ(hit.at("identity"), found.at("identity"));
    }
  }
  EXPECT_EQ(queries["text_to_image"], tensor("text").size(0));
  EXPECT_EQ(queries["image_to_text"], tensor("image").size(0));
}

TEST_F(EvalCommand, RanksDoNotDependOnTheNumberOfRanks) {
  const auto ranks_with = [&](int ranks, const std::string& name) {
    const auto argv = on_run("eval", {"--split", "train", "--report", folder_ / "r.html", "--ranks", folder_ / name});
    output_of(ranks == 1 ? argv : under_mpirun(ranks, argv));
    return read_text(folder_ / name);
  };
  const std::string one = ranks_with(1, "one.jsonl");
  EXPECT_FALSE(one.empty());
  EXPECT_EQ(ranks_with(3, "three.jsonl"), one);
}

TEST_F(EvalCommand, CsvHoldsTheSame) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  for (const char* name : {"ranks.jsonl", "ranks.csv"}) {
    output_of(on_run("eval", {"--report", folder_ / "r.html", "--ranks", folder_ / name, "--top", "3"}));
  }
  run_reference_python(R"(
import csv, json, sys
table = list(csv.DictReader(open(sys.argv[2], newline='')))
for line in map(json.loads, open(sys.argv[1])):
    by_text = line['direction'] == 'text_to_image'
    for rank, hit in enumerate(line['hits'], 1):
        row = table.pop(0)
        assert row['direction'] == line['direction'] and int(row['query']) == line['query']
        assert row['query_name'] == line['caption' if by_text else 'path'] and row['query_identity'] == line['identity']
        assert int(row['rank']) == rank and int(row['hit']) == hit['row'] and row['hit_identity'] == hit['identity']
        assert row['hit_name'] == hit['path' if by_text else 'caption']
        assert float(row['score']) == hit['score'] and row['right'] == str(hit['right']).lower()
assert not table
)",
                       {folder_ / "ranks.jsonl", folder_ / "ranks.csv"});
}

TEST_F(EvalCommand, EmbeddingsGiveTheSameTableAndRanks) {
  embed();
  const std::string of_run = output_of(on_run("eval", {"--report", folder_ / "r.html"}));
  const std::string of_file =
      output_of({muster_program(), "eval", "--embeddings", folder_ / "e.safetensors", "--ranks", folder_ / "f.jsonl"});
  for (const char* direction : {"text to image", "image to text"}) {
    EXPECT_EQ(table_row(of_run, direction), table_row(of_file, direction));
  }
  const json first = json_lines(folder_ / "f.jsonl").at(0);
  EXPECT_EQ(first.at("identity"), "8");  // numbers: a file of vectors has no names
  EXPECT_FALSE(first.contains("caption"));
}

// R@K as COCO's are counted (CLIP_benchmark, retrieval metrics): a caption has one right image; an image is found if
// any of its own captions is among the first K.
TEST_F(EvalCommand, PositivesByImageAreCocos) {
  embed("train");
  const std::string output =
      output_of(on_run("eval", {"--split", "train", "--positives", "image", "--report", folder_ / "r.html"}));
  EXPECT_THAT(output, HasSubstr("right is the same image"));
  EXPECT_EQ(json_lines(run() + "/evaluations.jsonl").back().at("positives"), "image");
  for (const bool by_text : {true, false}) {
    const std::string queries = by_text ? "text" : "image", gallery = by_text ? "image" : "text";
    const at::Tensor scores = cosines(queries, gallery);
    double found[3] = {};
    for (int64_t query = 0; query < scores.size(0); ++query) {
      const std::vector<int64_t> order = ranking(scores, query);
      size_t first = 0;
      while (rows_[gallery][static_cast<size_t>(order[first])].at("path") !=
             rows_[queries][static_cast<size_t>(query)].at("path")) {
        ++first;
      }
      for (const int i : {0, 1, 2}) found[i] += first < std::vector<size_t>{1, 5, 10}[static_cast<size_t>(i)];
    }
    const std::vector<double> row = table_row(output, by_text ? "text to image" : "image to text");
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(row.at(i), 100 * found[i] / static_cast<double>(scores.size(0)), 0.0051) << queries << " " << i;
    }
  }
  const std::string by_identity = output_of(on_run("eval", {"--split", "train", "--report", folder_ / "r.html"}));
  EXPECT_LE(table_row(output, "text to image").at(1), table_row(by_identity, "text to image").at(1));
}

TEST_F(EvalCommand, BestOnTestIsLabelledAndSavesNothing) {
  fs::copy(run(), folder_ / "run", fs::copy_options::recursive);
  const std::vector<std::string> before = lines_of(output_of({"find", folder_ / "run", "-newermt", "1970-01-02"}));
  const std::string output =
      output_of({muster_program(), "eval", "--run", folder_ / "run", "--data", store(), "--best-on-test"});
  EXPECT_THAT(output, HasSubstr("SELECTED ON TEST"));
  EXPECT_EQ(lines_of(output_of({"find", folder_ / "run", "-newermt", "1970-01-02"})), before);
  double best = -1;
  for (const char* step : {"1", "2", "3", "4"}) {
    const std::string one = output_of(on_run("eval", {"--checkpoint", step, "--report", folder_ / "r.html"}));
    best = std::max(best, table_row(one, "text to image").at(0));
  }
  EXPECT_EQ(table_row(output, "text to image").at(0), best);
}

TEST_F(EvalCommand, RecordsEachEvaluationOnce) {
  fs::copy(run(), folder_ / "run", fs::copy_options::recursive);
  fs::remove(folder_ / "run/evaluations.jsonl");  // of other tests
  const std::vector<std::string> argv = {muster_program(), "eval", "--run", folder_ / "run", "--data", store()};
  output_of(argv);
  const std::vector<json> once = json_lines(folder_ / "run/evaluations.jsonl");
  output_of(argv);
  EXPECT_EQ(json_lines(folder_ / "run/evaluations.jsonl"), once);
  ASSERT_EQ(once.size(), 1U);
  EXPECT_EQ(once[0].at("split"), "test");
  EXPECT_EQ(once[0].at("step"), 4);
}

TEST_F(EvalCommand, ACheckpointAloneAndAnotherStoreWork) {
  write_tiny_store(folder_ / "other", 16);
  fs::copy(run() + "/checkpoints/step_0000000003", folder_ / "moved");
  const std::string there = output_of(on_run("eval", {"--checkpoint", "3", "--report", folder_ / "r.html"}));
  EXPECT_THAT(there, Not(HasSubstr("was trained on another store")));
  const std::string alone = output_of({muster_program(), "eval", "--run", folder_ / "moved", "--data", store()});
  EXPECT_EQ(table_row(alone, "text to image"), table_row(there, "text to image"));
  EXPECT_FALSE(fs::exists(folder_ / "moved/report.html"));
  EXPECT_FALSE(fs::exists(folder_ / "moved/evaluations.jsonl"));
  const std::string other =
      output_of({muster_program(), "eval", "--run", folder_ / "moved", "--data", folder_ / "other"});
  EXPECT_THAT(other, HasSubstr("was trained on another store; identities are those of " + (folder_ / "other")));
}

}  // namespace
}  // namespace muster
