#include "trainer/report/progress_line.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <string>

namespace muster {
namespace {

StepRecord record() {
  StepRecord made;
  made.step = 120;
  made.total_steps = 3000;
  made.epoch = 1.344;
  made.loss = 3.421;
  made.terms = {{"info_nce", 3.2}, {"sdm", 0.442}};
  made.grad_norm = 1.234;
  made.rate = 5e-4;
  made.logit_scale = 14.2857;
  made.samples_per_second = 412.4;
  made.data_wait_share = 0.011;
  made.comm_wait_share = 0.03;
  made.eta_seconds = 2482;
  return made;
}

// What a printer writes to a stream of that many columns.
std::string printed(int columns, const std::function<void(ProgressPrinter&)>& print) {
  std::FILE* file = std::tmpfile();
  {
    ProgressPrinter printer(file, columns);
    print(printer);
  }
  std::string text(static_cast<size_t>(std::ftell(file)), '\0');
  std::rewind(file);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), file), text.size());
  std::fclose(file);
  return text;
}

TEST(ProgressLine, Golden) {
  EXPECT_EQ(format_progress(record()),
            "step  120/3000  epoch 1.34  loss 3.4210 (info_nce 3.2000, sdm 0.4420)  grad 1.23  lr 5.00e-04  scale 14.3"
            "  412 samples/s  waits data 1% peers 3%  eta 41:22");
}

TEST(ProgressLine, OneTermIsNotRepeated) {
  StepRecord one = record();
  one.terms.resize(1);
  EXPECT_EQ(format_progress(one).substr(0, 50), "step  120/3000  epoch 1.34  loss 3.4210  grad 1.23");
}

TEST(ProgressLine, Durations) {
  const auto eta = [](double seconds) {
    StepRecord made = record();
    made.eta_seconds = seconds;
    const std::string line = format_progress(made);
    return line.substr(line.find("eta"));
  };
  EXPECT_EQ(eta(0.4), "eta 0:00");
  EXPECT_EQ(eta(59.6), "eta 1:00");
  EXPECT_EQ(eta(3723), "eta 1:02:03");
  EXPECT_EQ(eta(200000), "eta 2d 07:33:20");
  EXPECT_EQ(eta(INFINITY), "eta ?");
  EXPECT_EQ(eta(NAN), "eta ?");
}

TEST(ProgressLine, Evaluation) {
  const EvaluationRecord made{300, "val", {5.734, 23.74, 36.1, 7.81, 2.75, 10, 5, 0}, {6, 20, 31, 7.25, 2.5, 5, 10, 0}};
  EXPECT_EQ(format_progress(made),
            "step 300  val  text to image R@1 5.73 R@5 23.74 R@10 36.10 mAP 7.81 mINP 2.75"
            "  image to text R@1 6.00 R@5 20.00 R@10 31.00 mAP 7.25 mINP 2.50");
}

TEST(ProgressPrinter, PlainLinesWhereThereIsNoTerminal) {
  const std::string line = format_progress(record()) + "\n";
  EXPECT_EQ(printed(0,
                    [](ProgressPrinter& printer) {
                      printer.print(record());
                      printer.print(record());
                    }),
            line + line);
}

TEST(ProgressPrinter, OneLineRewrittenOnATerminal) {
  const std::string cut = "\r\x1b[K" + format_progress(record()).substr(0, 39);
  const EvaluationRecord evaluation{300, "val", {}, {}};
  EXPECT_EQ(printed(40,
                    [&](ProgressPrinter& printer) {
                      printer.print(record());
                      printer.print(record());
                      printer.print(evaluation);
                      printer.print(record());
                    }),
            cut + cut + "\r\x1b[K" + format_progress(evaluation) + "\n" + cut + "\n");
}

}  // namespace
}  // namespace muster
