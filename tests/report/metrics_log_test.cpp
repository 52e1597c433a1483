#include "trainer/report/metrics_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "launch/error.h"
#include "tests/support/file_bytes.h"
#include "tests/support/reference_python.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary_folder.h"
#include "trainer/report/append_file.h"
#include "trainer/report/metrics_file.h"

namespace muster {
namespace {

StepRecord step_record(int64_t step) {
  StepRecord record;
  record.step = step;
  record.total_steps = 40;
  record.epoch = static_cast<double>(step) / 16;
  record.loss = 5 - static_cast<double>(step) / 10;
  record.terms = {{"sdm", 3.25}, {"info_nce", record.loss}};
  record.grad_norm = 1.5;
  record.rate = 5e-4;
  record.logit_scale = 14.25;
  record.samples_per_second = 400;
  record.data_wait_share = 0.01;
  record.comm_wait_share = 0.02;
  record.eta_seconds = 12;
  return record;
}

EvaluationRecord evaluation_record(int64_t step) {
  const double r1 = static_cast<double>(step);
  return {step, "val", {r1, 2, 3, 4, 5, 60, 30, 0}, {6, 7, 8, 9, 10, 30, 60, 1}};
}

// Records of steps `first`, `first` + 1, ..., `last`; an evaluation every tenth step.
void log_steps(MetricsLog& log, int64_t first, int64_t last) {
  for (int64_t step = first; step <= last; ++step) {
    log.step(step_record(step));
    if (step % 10 == 0) log.evaluation(evaluation_record(step));
  }
}

std::string text_of(const std::string& path) {
  const std::vector<uint8_t> bytes = read_bytes(path);
  return {bytes.begin(), bytes.end()};
}

TEST(AppendFileTest, WhatAFullDiskDoesNotTakeComesLaterInItsOrder) {
  const TemporaryFolder folder;
  const SmallDisk disk(folder.path(), "64k");
  if (!disk.mounted()) GTEST_SKIP() << disk.reason();
  AppendFile file(folder / "f");
  std::string all;
  testing::internal::CaptureStderr();
  for (char record = 'a'; record <= 'z'; ++record) {
    all += std::string(5000, record) + '\n';
    file.append(std::string(5000, record) + '\n');
    file.sync();
    if (record == 'w') disk.resize("1m");
  }
  EXPECT_EQ(text_of(folder / "f"), all);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "cannot write " + (folder / "f") + ": No space left on device; what belongs there waits in memory\n" +
                (folder / "f") + " is written again\n");
}

class MetricsLogTest : public testing::Test {
 protected:
  const TemporaryFolder folder_;
  const std::string& run_ = folder_.path();
  const std::string metrics_ = metrics_path(run_);
};

TEST_F(MetricsLogTest, LinesAreAsDocumented) {
  MetricsLog log(run_, 0);
  log.step(step_record(8));
  log.evaluation(evaluation_record(8));
  EXPECT_EQ(
      text_of(metrics_),
      "{\"kind\":\"step\",\"step\":8,\"total_steps\":40,\"epoch\":0.5,\"loss\":4.2,\"terms\":{\"sdm\":3.25,"
      "\"info_nce\":4.2},\"grad_norm\":1.5,\"rate\":0.0005,\"logit_scale\":14.25,\"samples_per_second\":400.0,"
      "\"data_wait_share\":0.01,\"comm_wait_share\":0.02,\"eta_seconds\":12.0}\n"
      "{\"kind\":\"evaluation\",\"step\":8,\"split\":\"val\",\"text_to_image\":{\"r1\":8.0,\"r5\":2.0,\"r10\":3.0,"
      "\"map\":4.0,\"minp\":5.0,\"queries\":60,\"gallery\":30,\"skipped\":0,\"median_rank\":0.0,\"mean_rank\":0.0},"
      "\"image_to_text\":{\"r1\":6.0,"
      "\"r5\":7.0,\"r10\":8.0,\"map\":9.0,\"minp\":10.0,\"queries\":30,\"gallery\":60,\"skipped\":1,\"median_rank\":0."
      "0,\"mean_rank\":0.0}}\n");
}

TEST_F(MetricsLogTest, AnEvaluationMadeAgainTakesThePlaceOfTheFirst) {
  const std::string path = folder_ / "evaluations.jsonl";
  EvaluationRecord record = evaluation_record(8);
  record.data = "5663b31e";
  record_evaluation(path, record);
  EXPECT_THAT(text_of(path), testing::EndsWith(R"("mean_rank":0.0},"data":"5663b31e","positives":"identity"})"
                                               "\n"));
  EvaluationRecord by_image = record;
  by_image.positives = "image";
  record_evaluation(path, by_image);
  EvaluationRecord elsewhere = record;
  elsewhere.data = "0123";
  record_evaluation(path, elsewhere);
  record.text_to_image.r1 = 50;
  record_evaluation(path, record);
  EvaluationRecord folds = record;
  folds.folds = 5;
  folds.ndcg = {{"rougeL", 0.25, 0.5}, {"spice", 0.75, 1}};
  folds.text_to_image.median_rank = 4;
  folds.image_to_text.mean_rank = 7.5;
  record_evaluation(path, folds);
  const MetricsHistory history = read_metrics(path);
  ASSERT_EQ(history.evaluations.size(), 4U);
  EXPECT_EQ(history.evaluations[0].positives, "image");
  EXPECT_EQ(history.evaluations[1].data, "0123");
  EXPECT_EQ(history.evaluations[2].text_to_image.r1, 50);
  EXPECT_EQ(history.evaluations[2].folds, 1);
  EXPECT_EQ(history.evaluations[3].folds, 5);
  EXPECT_EQ(history.evaluations[3].text_to_image.median_rank, 4);
  EXPECT_EQ(history.evaluations[3].image_to_text.mean_rank, 7.5);
  ASSERT_EQ(history.evaluations[3].ndcg.size(), 2U);
  EXPECT_EQ(history.evaluations[3].ndcg[1].name, "spice");
  EXPECT_EQ(history.evaluations[3].ndcg[1].text_to_image, 0.75);
  EXPECT_EQ(history.evaluations[3].ndcg[0].image_to_text, 0.5);
}

TEST_F(MetricsLogTest, RecordsComeBackWithNullForWhatIsNotFinite) {
  StepRecord written = step_record(3);
  written.loss = std::nan("");
  written.terms[1].second = std::numeric_limits<double>::infinity();
  {
    MetricsLog log(run_, 0);
    log.step(written);
    log.evaluation(evaluation_record(3));
    log.flush();
  }
  EXPECT_THAT(text_of(metrics_), testing::HasSubstr("\"loss\":null"));
  const MetricsHistory history = read_metrics(metrics_);
  ASSERT_EQ(history.steps.size(), 1U);
  const StepRecord& read = history.steps[0];
  EXPECT_TRUE(std::isnan(read.loss));
  EXPECT_EQ(read.terms[0], written.terms[0]);
  EXPECT_EQ(read.terms[1].first, "info_nce");
  EXPECT_TRUE(std::isnan(read.terms[1].second));
  EXPECT_EQ(read.rate, written.rate);
  EXPECT_EQ(read.eta_seconds, written.eta_seconds);
  ASSERT_EQ(history.evaluations.size(), 1U);
  EXPECT_EQ(history.evaluations[0].split, "val");
  EXPECT_EQ(history.evaluations[0].text_to_image.minp, 5);
  EXPECT_EQ(history.evaluations[0].image_to_text.skipped, 1);
  EXPECT_EQ(history.damaged_lines, 0);
}

class BrokenRun : public MetricsLogTest, public testing::WithParamInterface<int64_t> {};

TEST_P(BrokenRun, ReadsAsIfItHadNeverBeenBroken) {
  const TemporaryFolder unbroken;
  {
    MetricsLog log(unbroken.path(), 0);
    log_steps(log, 1, 40);
  }
  {
    MetricsLog log(run_, 0);
    log_steps(log, 1, 25);
  }
  std::ofstream(metrics_, std::ios::app) << "{\"kind\":\"step\",\"step\":26,\"tot";  // killed in the middle of a line
  const int64_t checkpoint = GetParam();
  {
    MetricsLog log(run_, checkpoint);
    // The evaluation of the checkpoint's own step is made again by a run that ended between the two.
    if (checkpoint % 10 == 0 && checkpoint > 0) log.evaluation(evaluation_record(checkpoint));
    log_steps(log, checkpoint + 1, 40);
  }
  EXPECT_EQ(text_of(metrics_), text_of(metrics_path(unbroken.path())));
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, BrokenRun, testing::Values(0, 7, 20, 25));

TEST_F(MetricsLogTest, ALastLineThatLacksOnlyItsEndIsKept) {
  std::ofstream(metrics_) << to_json_line(step_record(1)) << "\nnot a record\n" << to_json_line(step_record(2));
  MetricsLog log(run_, 2);
  log.step(step_record(3));
  const MetricsHistory history = read_metrics(metrics_);
  ASSERT_EQ(history.steps.size(), 3U);
  EXPECT_EQ(history.steps[2].step, 3);
  EXPECT_EQ(history.damaged_lines, 0);
}

TEST_F(MetricsLogTest, NoFileIsNoHistory) {
  EXPECT_TRUE(read_metrics(metrics_).steps.empty());
}

TEST_F(MetricsLogTest, AMissingRunFolderIsNamed) {
  try {
    MetricsLog log(run_ + "/absent", 0);
    FAIL() << "accepted";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("absent/metrics.jsonl"));
  }
}

TEST(Crc32c, KnownValues) {  // RFC 3720, appendix B.4, and the usual check value
  const std::string zeros(32, '\0');
  EXPECT_EQ(crc32c(zeros.data(), zeros.size()), 0x8a9136aaU);
  EXPECT_EQ(crc32c("123456789", 9), 0xe3069283U);
}

// What stock TensorBoard sees in a folder: {tag: [[step, value], ...]}.
constexpr const char* kReadEvents = R"(
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0, 'tensors': 0})
events.Reload()
tags = events.Tags()['scalars']
json.dump({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags}, open(sys.argv[2], 'w'))
)";

nlohmann::json tensorboard_sees(const std::string& run, const std::string& scratch) {
  run_reference_python(kReadEvents, {run + "/tensorboard", scratch});
  std::ifstream file(scratch);
  return nlohmann::json::parse(file);
}

TEST_F(MetricsLogTest, TensorboardReadsScalars) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  {
    MetricsLog log(run_, 0);
    log_steps(log, 1, 40);
  }
  nlohmann::json seen = tensorboard_sees(run_, folder_ / "seen.json");
  ASSERT_EQ(seen["train/loss"].size(), 40U);
  EXPECT_EQ(seen["train/loss"][15], nlohmann::json::parse("[16, 3.4000000953674316]"));
  EXPECT_EQ(seen["terms/sdm"][0][1], 3.25);
  EXPECT_EQ(seen["speed/samples_per_second"][39], nlohmann::json::parse("[40, 400.0]"));
  ASSERT_EQ(seen["val/text_to_image/R@1"].size(), 4U);
  EXPECT_EQ(seen["val/text_to_image/R@1"][1], nlohmann::json::parse("[20, 20.0]"));
  EXPECT_EQ(seen["val/image_to_text/mINP"][3][1], 10.0);
}

TEST_F(MetricsLogTest, TensorboardForgetsWhatAResumeTookBack) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  {
    MetricsLog log(run_, 0);
    log_steps(log, 1, 25);
  }
  for (const int64_t checkpoint : {20, 12}) {
    MetricsLog log(run_, checkpoint);
    log_steps(log, checkpoint + 1, 30);
  }
  nlohmann::json seen = tensorboard_sees(run_, folder_ / "seen.json");
  ASSERT_EQ(seen["train/loss"].size(), 30U);
  for (size_t i = 0; i < 30; ++i) EXPECT_EQ(seen["train/loss"][i][0], i + 1);
  EXPECT_EQ(seen["val/text_to_image/R@1"].size(), 3U);
}

TEST_F(MetricsLogTest, TensorboardFilesKeepTheirOrderWhenTheClockWasPutBack) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  {
    MetricsLog log(run_, 0);
    log_steps(log, 1, 9);
  }
  const std::filesystem::path first = *std::filesystem::directory_iterator(run_ + "/tensorboard");
  std::filesystem::rename(first, run_ + "/tensorboard/events.out.tfevents.4000000000.host.1");
  MetricsLog log(run_, 5);
  log_steps(log, 6, 9);
  nlohmann::json seen = tensorboard_sees(run_, folder_ / "seen.json");
  ASSERT_EQ(seen["train/loss"].size(), 9U);
  for (size_t i = 0; i < 9; ++i) EXPECT_EQ(seen["train/loss"][i][0], i + 1);
}

}  // namespace
}  // namespace muster
