// The retrieval figures of several runs as one table, as papers print them. Runs of one configuration that differ only
// in their seed are one row: mean, spread and number of runs.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "trainer/report/step_record.h"

namespace muster {

struct RunResult {
  std::string name;                                         // the run's folder
  std::vector<std::pair<std::string, std::string>> fields;  // of its config that decide results, ("train.seed", "1")
  std::string data;                                         // what it was evaluated on; others are other rows
  EvaluationRecord record;
};

enum class Spread {
  kDeviation,  // sample standard deviation (n - 1)
  kHalfRange,  // half of largest - smallest
};
enum class TableFormat { kMarkdown, kLatex, kCsv };

// One row of the table.
struct ResultRow {
  std::string label;  // what sets it apart: "train.optimizer.rate 0.001"; else the run's name
  std::vector<const EvaluationRecord*> runs;
};

// Groups the runs; rows in the order of their first run. A label names the fields in which the rows differ; where no
// field does, the runs' names. The results must outlive the rows.
std::vector<ResultRow> group_results(const std::vector<RunResult>& results);

// R@1 R@5 R@10 mAP mINP in percent, text to image and image to text. A row of one run has no spread. The last line
// says what the figures are.
std::string format_result_table(const std::vector<ResultRow>& rows, TableFormat format, Spread spread);

}  // namespace muster
