// What a run tells about itself: one record an interval of steps, one an evaluation.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "trainer/retrieval/metrics.h"

namespace muster {

struct StepRecord {
  int64_t step = 0;  // finished steps
  int64_t total_steps = 0;
  double epoch = 0;                                   // passes over the data, with a fraction
  double loss = 0;                                    // weighted sum of the terms
  std::vector<std::pair<std::string, double>> terms;  // unweighted
  double grad_norm = 0;                               // before clipping
  double rate = 0;                                    // learning rate
  double logit_scale = 0;
  double samples_per_second = 0;  // over all ranks
  double data_wait_share = 0;     // of the interval's time, 0 .. 1
  double comm_wait_share = 0;
  double eta_seconds = 0;
};

// NDCG@25 by a file of relevances (muster eval --relevance).
struct NamedNdcg {
  std::string name;
  double text_to_image = 0;  // 0 .. 1
  double image_to_text = 0;
};

struct EvaluationRecord {
  int64_t step = 0;
  std::string split;  // "val", "test"
  RetrievalMetrics text_to_image;
  RetrievalMetrics image_to_text;
  std::string data = {};               // fingerprint of the store; empty: the one that the run trains on
  std::string positives = "identity";  // what makes a gallery item right: the same "identity", "image" or "class"
  int64_t folds = 1;                   // figures are the mean over so many consecutive parts of the split
  std::vector<NamedNdcg> ndcg = {};
  std::string refinement = {};  // how references took part (muster eval --refine); empty: they did not
};

}  // namespace muster
