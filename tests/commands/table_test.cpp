// muster table against figures worked out by hand: runs are made of the two files that it reads.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/commands/trained_run.h"

namespace muster {
namespace {

using testing::HasSubstr;
using testing::Not;

class TableCommand : public testing::Test {
 protected:
  // A run's folder with one evaluation whose text-to-image R@1 is `r1`; the other figures are r1 + 1, + 2, ...
  void make_run(const std::string& name, const std::string& rate, int seed, double r1, const std::string& more = "") {
    std::filesystem::create_directories(folder_ / name);
    std::ofstream(folder_ / (name + "/config.textproto")) << fmt::format(
        "model {{ preset: MINI }}\nobjective {{ term {{ info_nce {{}} }} }}\ntrain {{\n  steps: 100\n  seed: {}\n  "
        "threads: {}\n  optimizer {{\n    rate: {}\n  }}\n{}}}\n",
        seed, seed, rate, more);
    add_evaluation(name, "evaluations.jsonl", "test", 100, r1);
  }

  void add_evaluation(const std::string& name, const std::string& file, const std::string& split, int step, double r1,
                      const std::string& data = "0123456789abcdef", const std::string& refinement = "") {
    const auto side = [](double first) {
      return fmt::format(R"({{"r1":{},"r5":{},"r10":{},"map":{},"minp":{},"queries":8,"gallery":4,"skipped":0}})",
                         first, first + 1, first + 2, first + 3, first + 4);
    };
    std::ofstream(folder_ / (name + "/" + file), std::ios::app)
        << fmt::format(R"({{"kind":"evaluation","step":{},"split":"{}","text_to_image":{},"image_to_text":{}{}}})",
                       step, split, side(r1), side(r1 + 10),
                       (data.empty() ? "" : fmt::format(R"(,"data":"{}")", data)) +
                           (refinement.empty() ? "" : fmt::format(R"(,"refinement":"{}")", refinement)))
        << "\n";
  }

  ProgramResult table(const std::vector<std::string>& runs, const std::vector<std::string>& more = {}) {
    std::vector<std::string> argv = {"env", "-C", folder_.path(), muster_program(), "table"};
    argv.insert(argv.end(), runs.begin(), runs.end());
    argv.insert(argv.end(), more.begin(), more.end());
    return run_program(argv);
  }

  // Three seeds of one rate: 10, 11, 15 have mean 12, deviation sqrt((4 + 1 + 9) / 2) = 2.6458, half-range 2.5.
  void make_seeds() {
    make_run("a", "0.1", 0, 10);
    make_run("b", "0.1", 1, 11);
    make_run("c", "0.1", 2, 15);
  }

  TemporaryFolder folder_;
};

TEST_F(TableCommand, SeedsBecomeMeanAndSpread) {
  make_seeds();
  make_run("d", "0.2", 0, 20);
  const ProgramResult result = table({"a", "d", "b", "c/"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(
      result.output,
      "| run | n | T2I R@1 | T2I R@5 | T2I R@10 | T2I mAP | T2I mINP | I2T R@1 | I2T R@5 | I2T R@10 | I2T mAP | I2T "
      "mINP |\n"
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
      "| train.optimizer.rate 0.1 | 3 | 12.00 ± 2.65 | 13.00 ± 2.65 | 14.00 ± 2.65 | 15.00 ± 2.65 | 16.00 ± 2.65 | "
      "22.00 ± 2.65 | 23.00 ± 2.65 | 24.00 ± 2.65 | 25.00 ± 2.65 | 26.00 ± 2.65 |\n"
      "| train.optimizer.rate 0.2 | 1 | 20.00 | 21.00 | 22.00 | 23.00 | 24.00 | 30.00 | 31.00 | 32.00 | 33.00 | "
      "34.00 |\n"
      "\n"
      "Percent; T2I text to image, I2T image to text; mean ± sample standard deviation (n - 1) over the n runs that "
      "differ in the seed only.\n");
}

// Refined figures and their control are rows of their own.
TEST_F(TableCommand, RefinedFiguresStandBesideThePlainOnes) {
  make_seeds();
  for (const auto& [run, r1] : {std::pair("a", 30), std::pair("b", 32)}) {
    add_evaluation(run, "evaluations.jsonl", "test", 100, r1, "0123456789abcdef", "5 references, CENTRE, beta 1");
    add_evaluation(run, "evaluations.jsonl", "test", 100, r1 - 15, "0123456789abcdef", "control: centred features");
  }
  const std::string text = table({"a", "b", "c"}).output;
  EXPECT_THAT(text, HasSubstr("| scores plain | 3 | 12.00 ± 2.65 |"));
  EXPECT_THAT(text, HasSubstr("| scores refined | 2 | 31.00 ± 1.41 |"));
  EXPECT_THAT(text, HasSubstr("| scores control (centred features) | 2 | 16.00 ± 1.41 |"));
}

TEST_F(TableCommand, LatexAndCsv) {
  make_seeds();
  make_run("d", "0.1", 0, 20, "  clip_norm: 1\n");
  const std::string latex = table({"a", "b", "c", "d"}, {"--format", "latex", "--spread", "half-range"}).output;
  EXPECT_THAT(latex, HasSubstr("train.clip\\_norm 0 & 3 & $12.00_{\\pm 2.50}$ & $13.00_{\\pm 2.50}$"));
  EXPECT_THAT(latex, HasSubstr("train.clip\\_norm 1 & 1 & 20.00 & 21.00"));
  EXPECT_THAT(latex, HasSubstr("% mean and half of the range over n seeds"));
  const std::vector<std::string> csv = lines_of(table({"a", "b", "c", "d"}, {"--format", "csv"}).output);
  ASSERT_EQ(csv.size(), 3U);
  EXPECT_THAT(csv[0], HasSubstr("run,n,t2i_r1,t2i_r1_sd,t2i_r5,t2i_r5_sd"));
  EXPECT_THAT(csv[1], HasSubstr("\"train.clip_norm 0\",3,12.0000,2.6458,13.0000,2.6458"));
  EXPECT_THAT(csv[2], HasSubstr("\"train.clip_norm 1\",1,20.0000,,21.0000,,"));
}

TEST_F(TableCommand, WhereOnlyTheSeedDiffersTheRunsAreNamed) {
  make_seeds();
  EXPECT_THAT(table({"a", "b", "c"}).output, HasSubstr("| a, b, c | 3 | 12.00 ± 2.65 |"));
}

TEST_F(TableCommand, ADefaultThatIsStatedIsNoOtherRow) {
  make_run("a", "0.1", 0, 10);
  make_run("b", "0.1", 1, 12, "  clip_norm: 0\n");
  EXPECT_THAT(table({"a", "b"}).output, HasSubstr("| a, b | 2 | 11.00 ± 1.41 |"));
}

TEST_F(TableCommand, OtherDataAreOtherRows) {
  make_seeds();
  add_evaluation("a", "evaluations.jsonl", "test", 100, 50, "fedcba9876543210");
  const std::string output = table({"a", "b"}).output;
  EXPECT_THAT(output, HasSubstr("| data 01234567 | 2 | 10.50 ± 0.71 |"));
  EXPECT_THAT(output, HasSubstr("| data fedcba98 | 1 | 50.00 |"));
}

TEST_F(TableCommand, TakesTheNewestOrTheBestOnVal) {
  make_run("a", "0.1", 0, 10);
  add_evaluation("a", "evaluations.jsonl", "test", 50, 7);
  add_evaluation("a", "metrics.jsonl", "val", 50, 30, "");
  add_evaluation("a", "metrics.jsonl", "val", 100, 29, "");
  EXPECT_THAT(table({"a"}).output, HasSubstr("| a | 1 | 10.00 |"));
  EXPECT_THAT(table({"a"}, {"--step", "best"}).output, HasSubstr("| a | 1 | 7.00 |"));
  EXPECT_THAT(table({"a"}, {"--split", "val"}).output, HasSubstr("| a | 1 | 29.00 |"));
  EXPECT_THAT(table({"a"}, {"--split", "val", "--step", "best"}).output, HasSubstr("| a | 1 | 30.00 |"));
  // The same figures once more, this time by muster eval, are no second row.
  add_evaluation("a", "evaluations.jsonl", "val", 100, 29);
  EXPECT_THAT(table({"a"}, {"--split", "val"}).output, HasSubstr("| a | 1 | 29.00 |"));
}

TEST_F(TableCommand, ARunWithoutAnEvaluationIsNamed) {
  make_seeds();
  std::filesystem::remove(folder_ / "b/evaluations.jsonl");
  const ProgramResult result = table({"a", "b", "c"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("muster: b is left out, having no evaluation on test; make one: "
                                       "muster eval --run b --data STORE --split test\n"));
  EXPECT_THAT(result.output, HasSubstr("| a, c | 2 |"));
  const ProgramResult none = table({"b"});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.output, HasSubstr("muster: none of the 1 runs has an evaluation on test\n"));
  const ProgramResult no_run = table({"a", "x"});
  EXPECT_EQ(no_run.exit_code, 2);
  EXPECT_THAT(no_run.output, HasSubstr("muster: x holds no run"));
  EXPECT_THAT(no_run.output, Not(HasSubstr("| a")));
}

}  // namespace
}  // namespace muster
