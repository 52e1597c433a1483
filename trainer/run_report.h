// The report of an evaluation: what was retrieved, shown with pictures.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "dataloader/store.h"
#include "trainer/evaluation.h"
#include "trainer/report/html_report.h"

namespace muster {

// Collective. Rank 0 writes `path`: curves from run_dir's metrics, the retrieval table, and some queries of both
// directions with their best hits, taken evenly over the split. `restorations`: rank 0's, may be empty.
void write_run_report(const std::string& path, const std::string& run_dir, const std::string& config,
                      const Store& store, const SplitEmbeddings& embeddings, const EvaluationRecord& record,
                      std::vector<ReportRestoration> restorations, Communicator& communicator);

}  // namespace muster
