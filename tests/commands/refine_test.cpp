// muster eval --refine: three tables, where beta and phi were chosen, and what cannot be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "dataloader/store.h"
#include "tests/commands/trained_run.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr int64_t kWidth = 16;  // the run's joint_width

class RefineCommand : public TrainedRunTest {
 protected:
  void SetUp() override {
    fs::copy(run(), folder_ / "run", fs::copy_options::recursive);
    fs::remove(folder_ / "run/evaluations.jsonl");
  }

  void write_references(int64_t width) const {
    write_safetensors(folder_ / "run/checkpoints/step_0000000004/references.safetensors",
                      {{"rows", at::eye(width).narrow(0, 0, 8).contiguous()},
                       {"identity", at::arange(8)},
                       {"mean.image", at::full({width}, 0.1)},
                       {"mean.text", at::full({width}, -0.1)}});
  }

  std::vector<std::string> refine(const std::string& data, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> argv = {muster_program(), "eval", "--run", folder_ / "run", "--data", data, "--refine"};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  }

  void expect_error(const std::vector<std::string>& argv, const std::string& text) const {
    const ProgramResult result = run_program(argv);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(text));
  }
};

TEST_F(RefineCommand, PrintsAndRecordsPlainRefinedAndControl) {
  write_references(kWidth);
  const std::string output = output_of(refine(store()));
  EXPECT_THAT(output, testing::ContainsRegex("\n8 references, phi (IDENTITY|CENTRE), beta [0-9.]+, z-scores, chosen on "
                                             "val of "));
  EXPECT_THAT(output, HasSubstr("\ncontrol: centred features, no references\n"));
  std::vector<nlohmann::json> records;
  for (const std::string& line : lines_of(read_text(folder_ / "run/evaluations.jsonl"))) {
    records.push_back(nlohmann::json::parse(line));
  }
  ASSERT_EQ(records.size(), 3U);
  EXPECT_FALSE(records[0].contains("refinement"));
  EXPECT_THAT(records[1].at("refinement").get<std::string>(), HasSubstr("8 references"));
  EXPECT_THAT(records[2].at("refinement").get<std::string>(), HasSubstr("control"));
  EXPECT_EQ(output_of({muster_program(), "table", folder_ / "run", "--split", "test"}).find("references"),
            std::string::npos);
  EXPECT_EQ(output_of(under_mpirun(2, refine(store()))), output);
}

TEST_F(RefineCommand, OneChoiceNeedsNoVal) {
  write_references(kWidth);
  write_tiny_store(folder_ / "other", 16);
  const std::string output =
      output_of(refine(folder_ / "other", {"--set", "refinement.beta=[0]", "--set", "refinement.phi=[SOFTMAX]"}));
  EXPECT_THAT(output, HasSubstr("8 references, phi SOFTMAX, beta 0, temperature 0.2, z-scores, as the config says"));
  // Without beta the refined table is the plain one.
  const size_t plain = output.find("text to image"), refined = output.find("text to image", plain + 1);
  EXPECT_EQ(output.substr(plain, 140), output.substr(refined, 140));
}

TEST_F(RefineCommand, AmongTheBestOfEachQuery) {
  write_references(kWidth);
  const auto with_top_k = [&](const std::string& top_k) {
    return refine(store(), {"--set", "refinement.beta=[1000]", "--set", "refinement.phi=[CENTRE]", "--set",
                            "refinement.top_k=" + top_k});
  };
  const std::string output = output_of(with_top_k("[2]"));
  EXPECT_THAT(output, HasSubstr("8 references, phi CENTRE, beta 1000, the 2 best of each query, z-scores, as the "));
  EXPECT_EQ(output_of(under_mpirun(3, with_top_k("[2]"))), output);
  // Of one there is nothing to put into order.
  const std::string first = output_of(with_top_k("[1]"));
  const size_t plain = first.find("text to image"), refined = first.find("text to image", plain + 1);
  EXPECT_EQ(first.substr(plain, 140), first.substr(refined, 140));
  EXPECT_THAT(output_of(with_top_k("[2,0]")), HasSubstr(", z-scores, chosen on val of "));
  expect_error(with_top_k("[-1]"), "refinement.top_k is -1: give 0 or more (0: all)");
}

TEST_F(RefineCommand, WithoutValOneLineSaysWhatToDo) {
  write_references(kWidth);
  const std::string without = folder_ / "without_val";
  const Store whole(store());
  std::vector<int64_t> images = whole.images_of(Split::kTrain);
  images.insert(images.end(), whole.images_of(Split::kTest).begin(), whole.images_of(Split::kTest).end());
  copy_store(store(), without, images);
  const ProgramResult result = run_program(refine(without));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.output.substr(result.output.find("muster: ")),
            "muster: " + without +
                " has no val split to choose refinement's phi, beta and top_k on: give --refine-on STORE that has one, "
                "or one of each by --set\n");
  EXPECT_THAT(output_of(refine(without, {"--refine-on", store()})), HasSubstr("chosen on val of " + store()));
}

TEST_F(RefineCommand, SaysWhatIsMissing) {
  expect_error(refine(store()), "step_0000000004 holds no references to refine with: train with");
  write_references(kWidth);
  expect_error(refine(store(), {"--set", "train.steps=5"}), "--set train.steps=5: only fields of refinement");
  expect_error(refine(store(), {"--set", "refinement.beta=[-1]"}), "refinement.beta is -1: give 0 or more");
  write_references(kWidth + 1);
  expect_error(refine(store()), "references of width 17, and the model's embeddings are of width 16");
}

}  // namespace
}  // namespace muster
