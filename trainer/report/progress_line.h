// The line a person watches while a run trains.
#pragma once

#include <cstdio>
#include <string>

#include "trainer/report/step_record.h"

namespace muster {

// step 120/300  epoch 1.34  loss 3.4210 (info_nce 3.2000, sdm 0.4420)  grad 1.23  lr 5.00e-04  scale 14.3
// 412 samples/s  waits data 1% peers 3%  eta 0:42                         (one line; a single term is not repeated)
std::string format_progress(const StepRecord& record);

// step 300  val  text to image R@1 5.73 R@5 23.74 R@10 36.10 mAP 7.81 mINP 2.75  image to text R@1 ...
std::string format_progress(const EvaluationRecord& record);

// Prints records: on a terminal step lines rewrite each other, elsewhere every record is a line of its own.
// The destructor ends an open line.
class ProgressPrinter {
 public:
  // Standard output. `may_rewrite`: false where a terminal that is seen may not be one: mpirun gives its ranks
  // pseudo-terminals whatever its own output is.
  explicit ProgressPrinter(bool may_rewrite = true);
  // `columns`: the terminal's width, to which rewritten lines are cut; 0 if the stream is no terminal.
  ProgressPrinter(std::FILE* stream, int columns);
  ~ProgressPrinter();
  ProgressPrinter(const ProgressPrinter&) = delete;
  ProgressPrinter& operator=(const ProgressPrinter&) = delete;

  void print(const StepRecord& record);
  void print(const EvaluationRecord& record);
  // Ends an open line, so that other output can follow.
  void finish();

 private:
  std::FILE* stream_;
  int columns_;
  bool open_ = false;  // a line without its end is on the terminal
};

}  // namespace muster
