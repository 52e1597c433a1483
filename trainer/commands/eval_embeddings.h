// muster eval on embeddings made by anyone, and the --ranks file of both forms of eval.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "launch/process.h"
#include "trainer/ranks_file.h"
#include "trainer/retrieval/retrieval.h"

namespace muster {

struct RanksRequest {
  std::string path;  // empty: none
  int64_t top = 10;
};

// ConfigError: the file could not be written, or is an input.
void check_ranks_request(const RanksRequest& request, const std::vector<std::string>& inputs);

// Collective: ranks all queries of both directions; rank 0 writes. The rows are this rank's, cut by slice_of().
void write_all_ranks(const RanksRequest& request, const EmbeddingRows& image_rows, const NamedSide& images,
                     const EmbeddingRows& text_rows, const NamedSide& texts, Communicator& communicator);

// Prints the retrieval table of a safetensors file.
void evaluate_embeddings_file(const std::string& path, const RanksRequest& ranks, Process& process);

}  // namespace muster
