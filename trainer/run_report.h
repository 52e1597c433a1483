// The report of an evaluation: what was retrieved, shown with pictures.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "dataloader/store.h"
#include "trainer/evaluation.h"
#include "trainer/report/html_report.h"

namespace muster {

// What stands in a report beside figures and curves.
struct ReportSamples {
  bool ranks_queries = true;                    // queries and their best hits; the same on every rank
  std::string ranking_note;                     // by which scores, as global_note()
  std::vector<ReportRestoration> restorations;  // rank 0's; may be empty
  std::vector<ExplainedPair> explained;         // likewise
};

// Collective. Rank 0 writes `path`: curves from run_dir's metrics, the retrieval table, and some queries of both
// directions with their best hits, taken evenly over the split.
void write_run_report(const std::string& path, const std::string& run_dir, const std::string& config,
                      const Store& store, const SplitEmbeddings& embeddings, const EvaluationRecord& record,
                      ReportSamples samples, Communicator& communicator);

}  // namespace muster
