// The run's records on disk: RUN/metrics.jsonl and TensorBoard event files in RUN/tensorboard/.
//
// After a resume both read as if the run had never been broken: records of steps after the checkpoint's are gone.
// For one thread of one rank. Each record is written at once. All functions throw DataError: disk full, folder missing.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "trainer/report/append_file.h"
#include "trainer/report/step_record.h"
#include "trainer/report/tensorboard_writer.h"

namespace muster {

class MetricsLog {
 public:
  // `resume_step`: finished steps of the checkpoint that the run goes on from; 0 for a new run.
  MetricsLog(const std::string& run_dir, int64_t resume_step);

  void step(const StepRecord& record);
  // An evaluation of a step and split that is on record is not recorded again.
  void evaluation(const EvaluationRecord& record);
  // What was recorded is on the disk when it returns.
  void flush();

 private:
  std::set<std::pair<int64_t, std::string>> evaluated_;
  AppendFile file_;
  TensorboardWriter tensorboard_;
};

std::string metrics_path(const std::string& run_dir);

}  // namespace muster
