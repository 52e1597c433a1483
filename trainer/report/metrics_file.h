// metrics.jsonl: one JSON object a line, in the order of the steps.
//
//   {"kind":"step","step":10,"total_steps":300,"epoch":0.1,"loss":4.8,"terms":{"info_nce":4.8},"grad_norm":1.2,
//    "rate":1e-4,"logit_scale":14.3,"samples_per_second":412.0,"data_wait_share":0.01,"comm_wait_share":0.0,
//    "eta_seconds":35.0}
//   {"kind":"evaluation","step":100,"split":"val","text_to_image":{"r1":5.7,"r5":..,"r10":..,"map":..,"minp":..,
//    "queries":6526,"gallery":3263,"skipped":0},"image_to_text":{...}}
//
// evaluations.jsonl, of muster eval: lines of the second kind, with "data" (the store's fingerprint) and "positives";
// those of --refine also have "refinement", how references took part; those of --positives class "ap50" in
// "text_to_image"; those of --folds "folds", of --relevance "ndcg".
//
// A number that is not finite is null. A line that a kill tore is no JSON object any more and is passed over.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/report/step_record.h"

namespace muster {

// Without the line's end.
std::string to_json_line(const StepRecord& record);
std::string to_json_line(const EvaluationRecord& record);

struct MetricsHistory {
  std::vector<StepRecord> steps;
  std::vector<EvaluationRecord> evaluations;
  int64_t damaged_lines = 0;
};

// Empty if there is no such file. DataError if it cannot be read.
MetricsHistory read_metrics(const std::string& path);

// Adds the record to evaluations.jsonl, in the place of one of the same step, split, data, positives, folds and
// refinement. Whole or as it was. DataError.
void record_evaluation(const std::string& path, const EvaluationRecord& record);

// Removes the records of steps after `last_step` and damaged lines, atomically; returns the number of damaged lines.
int64_t cut_metrics(const std::string& path, int64_t last_step);

}  // namespace muster
