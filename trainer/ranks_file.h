// What each query found, as a file for scripts: muster eval --ranks.
//
//   .jsonl  a line a query: {"direction":"text_to_image","query":3,"caption":"a man ...","identity":"p12","hits":[
//           {"row":7,"path":"0007.jpg","identity":"p3","score":0.531,"right":false}, ...]}, hits best first
//   .csv    a line a hit: direction,query,query_name,query_identity,rank,hit,hit_name,hit_identity,score,right
//
// Rows are those of muster embed's file. Names (captions and paths) are left out where there are none.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "trainer/ranking.h"

namespace muster {

// What people call a row.
struct RowName {
  std::string name;  // an image's path, a caption; may be empty
  std::string identity;
};

// One side of the retrieval.
struct NamedSide {
  std::vector<int64_t> labels;                 // of all rows; equal labels are right for each other
  std::function<RowName(int64_t row)> naming;  // called once for each line or hit
};

// ConfigError unless the path ends in .jsonl or .csv.
void check_ranks_path(const std::string& path);

// Whole or absent. DataError: it cannot be written.
void write_ranks(const std::string& path, const Ranking& by_text, const Ranking& by_image, const NamedSide& images,
                 const NamedSide& texts);

}  // namespace muster
