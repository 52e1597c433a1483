// muster search: its hits against those of muster eval --ranks, a gallery from a file, its page, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "tests/commands/trained_run.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

struct Row {
  std::string score, identity, image;
  bool operator==(const Row& other) const {
    return score == other.score && identity == other.identity && image == other.image;
  }
};

// Of the one query of an output; `side` 1: the refined ones.
std::vector<Row> rows_of(const std::string& output, int side = 0) {
  std::vector<Row> rows;
  for (const std::string& line : lines_of(output)) {
    std::vector<std::string> all;  // columns are two blanks apart
    for (size_t at = line.find_first_not_of(' '), end = 0; at < line.size(); at = line.find_first_not_of(' ', end)) {
      end = std::min(line.size(), line.find("  ", at));
      all.push_back(line.substr(at, end - at));
    }
    if (all.empty() || all[0] != std::to_string(rows.size() + 1)) continue;
    const size_t first = side == 0 ? 1 : 6;
    if (all.size() < first + 3) continue;
    rows.push_back({all[first], all[first + 1], all[first + 2]});
  }
  return rows;
}

class SearchCommand : public TrainedRunTest {
 protected:
  void SetUp() override { fs::copy(run(), folder_ / "run", fs::copy_options::recursive); }

  std::vector<std::string> search(const std::vector<std::string>& more) const {
    std::vector<std::string> argv = {muster_program(), "search", "--run", folder_ / "run", "--data", store()};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  }

  void write_references() const {
    write_safetensors(folder_ / "run/checkpoints/step_0000000004/references.safetensors",
                      {{"rows", at::eye(16).narrow(0, 0, 8).contiguous()},
                       {"identity", at::arange(8)},
                       {"mean.image", at::full({16}, 0.1)},
                       {"mean.text", at::full({16}, -0.1)}});
  }

  void expect_error(const std::vector<std::string>& argv, const std::string& text) const {
    const ProgramResult result = run_program(argv);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(text));
    EXPECT_EQ(lines_of(result.output).size(), 1U) << result.output;
  }
};

TEST_F(SearchCommand, FindsForEachCaptionWhatEvalFindsForIt) {
  output_of({muster_program(), "eval", "--run", folder_ / "run", "--data", store(), "--ranks", folder_ / "hits.jsonl",
             "--top", "4"});
  std::vector<std::string> captions;
  std::vector<std::vector<Row>> expected;
  for (const std::string& line : lines_of(read_text(folder_ / "hits.jsonl"))) {
    const json query = json::parse(line);
    if (query.at("direction") != "text_to_image") continue;
    captions.push_back(query.at("caption"));
    expected.emplace_back();
    for (const json& hit : query.at("hits")) {
      expected.back().push_back(
          {fmt::format("{:.4f}", hit.at("score").get<double>()), hit.at("identity"), hit.at("path")});
    }
  }
  ASSERT_EQ(captions.size(), 8U);
  std::vector<std::string> all = {"--top", "4"};
  all.insert(all.end(), captions.begin(), captions.end());
  const std::string output = output_of(search(all));
  for (size_t i = 0; i < captions.size(); ++i) {
    const size_t begin = output.find("\n\n" + captions[i] + "\n rank  score");
    ASSERT_NE(begin, std::string::npos) << output;
    EXPECT_EQ(rows_of(output.substr(begin, output.find("\n\n", begin + 2) - begin)), expected[i]) << captions[i];
  }
  EXPECT_THAT(output, HasSubstr("4 images of test of "));
}

TEST_F(SearchCommand, AGalleryFromAFileIsTheGallery) {
  const std::string fresh = output_of(search({"a red thing"}));
  const auto embed = [&](const std::string& more, const std::string& value) {
    output_of({muster_program(), "embed", "--run", folder_ / "run", "--data", store(), "--out",
               folder_ / "e.safetensors", more, value});
  };
  embed("--split", "test");
  EXPECT_EQ(output_of(search({"a red thing", "--embeddings", folder_ / "e.safetensors"})), fresh);
  expect_error(search({"a red thing", "--embeddings", folder_ / "e.safetensors", "--split", "train"}),
               "e.safetensors: 'image' is [4, 16], and 16 images of width 16 are searched");
  expect_error(search({"a red thing", "--embeddings", folder_ / "e.safetensors", "--split", "val"}),
               "e.rows.jsonl: row 0 is not ");
  fs::remove(folder_ / "e.rows.jsonl");
  expect_error(search({"a red thing", "--embeddings", folder_ / "e.safetensors"}), "e.rows.jsonl");
  embed("--split", "test");
  NamedTensors tensors = read_safetensors(folder_ / "e.safetensors");
  for (auto& [name, tensor] : tensors) tensor = name == "image" ? tensor.neg() : tensor;
  write_safetensors(folder_ / "e.safetensors", tensors);
  expect_error(search({"a red thing", "--embeddings", folder_ / "e.safetensors"}),
               "e.safetensors: row 0 is not what step 4 of ");
}

TEST_F(SearchCommand, RefinedHitsStandBesideThePlainOnes) {
  expect_error(search({"a red thing", "--refine"}), "step_0000000004 holds no references to refine with");
  write_references();
  const std::string plain = output_of(search({"a red thing"}));
  const std::string chosen = output_of(search({"a red thing", "--refine"}));
  EXPECT_THAT(chosen, testing::ContainsRegex("left plain, right refined: 8 references, phi (IDENTITY|CENTRE), beta "
                                             "[0-9.]+, z-scores, chosen on val of "));
  EXPECT_EQ(rows_of(chosen), rows_of(plain));
  const auto with_beta = [&](const std::string& beta) {
    return output_of(search(
        {"a red thing", "--refine", "--set", "refinement.phi=[IDENTITY]", "--set", "refinement.beta=[" + beta + "]"}));
  };
  const std::string none = with_beta("0"), much = with_beta("100");
  EXPECT_EQ(rows_of(none, 1), rows_of(plain));
  EXPECT_NE(rows_of(much, 1), rows_of(plain));
  EXPECT_EQ(rows_of(much), rows_of(plain));
  expect_error(search({"a red thing", "--set", "refinement.beta=[1]"}), "--set requires --refine");
}

TEST_F(SearchCommand, HalfFindsTheSame) {
  const std::vector<Row> full = rows_of(output_of(search({"a red thing"})));
  const std::vector<Row> half = rows_of(output_of(search({"a red thing", "--half"})));
  ASSERT_EQ(half.size(), full.size());
  for (size_t i = 0; i < full.size(); ++i) EXPECT_NEAR(std::stod(half[i].score), std::stod(full[i].score), 1e-3);
}

TEST_F(SearchCommand, ThePageHoldsItsPicturesAndNoScript) {
  write_references();
  const std::string hostile = "<script>alert(1)</script>\" onload='x";
  const std::string output = output_of(search({hostile, "a blue thing", "--html", folder_ / "hits.html", "--refine",
                                               "--set", "refinement.phi=[CENTRE]", "--set", "refinement.beta=[1]"}));
  EXPECT_THAT(output, HasSubstr("hits.html: the hits with their pictures\n"));
  const std::string page = read_text(folder_ / "hits.html");
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, HasSubstr("<h2><bdi>&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x</bdi></h2>"));
  EXPECT_THAT(page, HasSubstr("8 references, phi CENTRE, beta 1"));
  size_t pictures = 0;
  for (size_t at = page.find("data:image/"); at != std::string::npos; at = page.find("data:image/", at + 1)) ++pictures;
  EXPECT_EQ(pictures, 16U);  // four images, two queries, two rankings
  EXPECT_EQ(page.find("://"), std::string::npos);
}

}  // namespace
}  // namespace muster
